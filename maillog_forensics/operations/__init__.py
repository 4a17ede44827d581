"""What the mail servers did in a day, counted: what pflogsumm and eximstats tell, for every kind of server alike."""
