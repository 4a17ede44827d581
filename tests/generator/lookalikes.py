"""Mail that resembles a loop and is none."""

from __future__ import annotations

import math
from collections.abc import Callable

from tests.generator import loops
from tests.generator.people import answer_time, chat_gap
from tests.generator.places import Stage
from tests.generator.responders import MailingList, Responder, spread
from tests.generator.world import NULL, Alias, Host, Mail, Stay


def _clockwork(
    stage: Stage, author: str, to: str, period: float, subject: str, *, phase: float = 0.0, message_id: str = ""
) -> int:
    """One mail every `period` seconds by the clock, from start to end."""
    world, rng = stage.world, stage.rng
    at, n = world.start - world.start % period + phase, 0
    while at < world.end and n < 400:
        if at > world.start:
            mail = Mail(author, (to,), size=900 + rng.randint(-4, 4), subject=subject, kind="monitor", by="script")
            mail.message_id = message_id
            world.submit(mail, at + abs(rng.gauss(0.6, 0.3)))
            n += 1
        at += period
    return n


def _period(stage: Stage, mails: int) -> float:
    """A round number of seconds that gives about so many mails."""
    span = stage.world.end - stage.world.start
    return min((30, 60, 120, 300, 600, 900, 1800, 3600), key=lambda p: abs(span / p - mails))


def tickets(stage: Stage) -> None:
    """A ticket system confirms each mail once; people answer some of the confirmations."""
    world, rng = stage.world, stage.rng
    desk = f"tickets@{stage.ours[0].domains[0]}"
    world.habit(
        desk, Responder(world, desk, spread(rng, 1, 30), 0.2, rng.random() < 0.5, "client", prefix="[#] ", answers_null=False)
    )
    for _ in range(rng.randint(20, 50)):
        a, b = stage.crowd.pair()
        world.submit(stage.crowd.write(rng.choice((a, b)), (desk,), kind="ticket"), stage.crowd.moment())
    world.benign.append(f"ticket system {desk} confirms each mail once")


def alarms(stage: Stage) -> None:
    """A monitor that writes in bursts to a desk, which acknowledges every mail; nobody reads the acknowledgements."""
    world, rng = stage.world, stage.rng
    monitor, desk = f"alarms@{stage.ours[-1].domains[0]}", f"desk@{stage.ours[0].domains[0]}"
    lag, n = spread(rng, 1, 40), 0
    world.habit(desk, Responder(world, desk, lag, rng.uniform(0.05, 0.3), rng.random() < 0.4, "client", prefix="[#] "))
    for _ in range(rng.randint(8, 30)):
        at, pace = rng.uniform(world.start, world.end), spread(rng, 10, 300)
        for _ in range(rng.randint(1, 14)):
            world.submit(
                Mail(monitor, (desk,), size=1200 + rng.randint(-30, 30), subject=f"PROBLEM {n}", kind="monitor", by="script"), at
            )
            at, n = at + rng.expovariate(1 / pace), n + 1
    world.benign.append(f"{n} alarms of {monitor} in bursts, each acknowledged")


def told_twice(stage: Stage) -> None:
    """A desk that answers each mail with a receipt and with an absence notice; a clerk and a program in bursts write to it."""
    world, rng = stage.world, stage.rng
    desk, program = f"desk2@{stage.ours[0].domains[0]}", f"robot@{stage.ours[-1].domains[0]}"
    for lag, is_null in ((spread(rng, 1, 8), True), (spread(rng, 4, 40), rng.random() < 0.3)):
        style = "sieve" if is_null else "client"
        world.habit(
            desk, Responder(world, desk, lag, rng.uniform(0.05, 0.3), is_null, style, prefix="[#] ", size=rng.randint(600, 3000))
        )
    clerk, _ = stage.crowd.pair()
    n = 0
    for _ in range(rng.randint(3, 8)):
        at, pace = rng.uniform(world.start, world.end), spread(rng, 20, 200)
        for _ in range(rng.randint(6, 25)):
            mail = Mail(
                program, (desk,), size=1500 + rng.randint(-300, 300), subject=f"Job {n} done", kind="monitor", by="script"
            )
            world.submit(mail, at)
            at, n = at + rng.expovariate(1 / pace), n + 1
    at = rng.uniform(world.start, world.end)
    for _ in range(rng.randint(8, 30)):
        world.submit(stage.crowd.write(clerk, (desk,), kind="ticket"), at)
        at, n = at + chat_gap(rng), n + 1
    world.benign.append(f"{n} mails to {desk}, each answered twice")


def crossing_monitors(stage: Stage) -> None:
    """Two cron jobs in opposite directions with one period."""
    a, b = (f"monitor@{stage.ours[0].domains[0]}", f"nagios@{stage.ours[-1].domains[0]}")
    period = _period(stage, stage.rng.randint(50, 110))
    gap = stage.rng.uniform(0.05, 0.6) * period
    n = _clockwork(stage, a, b, period, "Status OK") + _clockwork(stage, b, a, period, "All services up", phase=gap)
    stage.world.benign.append(f"crossing cron mails {a} <-> {b} every {period} s, {n} mails")


def echo_probe(stage: Stage) -> None:
    """A probe by the clock, echoed at once."""
    probe, echo = f"probe@{stage.ours[0].domains[0]}", f"echo@{stage.ours[-1].domains[0]}"
    lag = spread(stage.rng, 1, 10)
    stage.world.habit(echo, Responder(stage.world, echo, lag, 0.1, stage.rng.random() < 0.4, "script", prefix="Echo: "))
    period = _period(stage, stage.rng.randint(40, 110))
    n = _clockwork(stage, probe, echo, period, "mail flow probe")
    stage.world.benign.append(f"mail-flow probe {probe} -> {echo} every {period} s, {n} times")


def newsletter(stage: Stage) -> None:
    """One mailing to many, each with its own return address; some addresses are gone."""
    world, rng, host = stage.world, stage.rng, stage.ours[0]
    at = stage.crowd.moment()
    for k in range(rng.randint(60, 160)):
        to = stage.crowd.someone(rng.choice([*stage.ours, *stage.outside]))
        if rng.random() < 0.06:
            to = f"gone{k}@{to.rpartition('@')[2]}"
            world.unknown.add(to)
        sender = f"bounce-{k}-{to.replace('@', '=')}@{host.domains[0]}"
        mail = Mail(f"news@{host.domains[0]}", (to,), sender, 42_000 + rng.randint(0, 60), "Spring offers", "newsletter")
        mail.message_id = f"news.{k}.{rng.getrandbits(40):x}@{host.domains[0]}"
        world.submit(mail, at + k * 0.7)
    world.benign.append("newsletter with a return address for each reader")


def discussion(stage: Stage) -> tuple[str, list[str]]:
    """A mailing list: people discuss, and a digest goes out; its address and members."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    host = next((h for h in stage.ours if h.mta.name != "exchange"), stage.ours[0])
    address = f"forum@{host.domains[0]}"
    members = sorted({crowd.someone(rng.choice([*stage.ours, *stage.outside])) for _ in range(10)})
    world.habit(address, MailingList(world, address, tuple(members)))
    left = [rng.randint(10, 30)]

    def then(mail: Mail, reader: str, now: float, stay: Stay) -> None:
        if reader == address or reader == mail.author or left[0] <= 0 or rng.random() > 0.22:
            return
        left[0] -= 1
        post = crowd.write(reader, (address,), "Re: the fair")
        post.then = then
        world.submit(post, now + min(answer_time(rng), rng.uniform(60, 4000)))

    for _ in range(rng.randint(2, 4)):
        first = crowd.write(rng.choice(members), (address,), "The fair")
        first.then = then
        world.submit(first, rng.uniform(world.start, (world.start + world.end) / 2))
    digest = Mail(address, tuple(members), f"forum-bounces@{host.domains[0]}", 30_000, "Forum digest", "list", by="script")
    world.submit(digest, rng.uniform(world.start, world.end))
    world.benign.append(f"discussion among people on {address}")
    return address, members


def bounce_answerers(stage: Stage) -> None:
    """A busy list, and members whose machines answer every copy to its return address, where nobody sends anything on."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    address, members = discussion(stage)
    away = rng.sample(members, rng.randint(1, 3))
    for member in away:
        crowd.leave(member)
        style = rng.choice(("script", "client"))
        world.habit(
            member, Responder(world, member, spread(rng, 2, 60), 0.2, style=style, answers_null=False, answers_return_path=True)
        )
    for k in range(rng.randint(10, 40)):
        author = rng.choice([m for m in members if m not in away])
        world.submit(crowd.write(author, (address,), f"Topic {k}"), crowd.moment())
    world.benign.append(f"machines that answer the return address of {address}")


def greylisting(stage: Stage) -> None:
    """A server puts off every first try; the second one, minutes later, gets through."""
    world, rng, peer = stage.world, stage.rng, stage.rng.choice(stage.outside)
    loops.greylist(stage, {peer})
    for _ in range(rng.randint(25, 60)):
        author = stage.crowd.someone(stage.ours[0])
        world.submit(stage.crowd.write(author, (stage.crowd.someone(peer),)), stage.crowd.moment())
    world.benign.append(f"greylisting at {peer.name}")


def receipts(stage: Stage) -> None:
    """Read receipts: a null-sender answer to each of many mails of one person, none of which is answered."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    for _ in range(rng.randint(20, 45)):
        a, b = crowd.pair()

        def then(mail: Mail, reader: str, now: float, stay: Stay) -> None:
            receipt = Mail(reader, (mail.author,), NULL, 1400, "Read: " + mail.subject, "receipt", crowd.message_id(reader))
            world.submit(receipt, now + rng.lognormvariate(5, 1.5))

        mail = crowd.write(a, (b,))
        mail.then = then
        world.submit(mail, crowd.moment())
    world.benign.append("read receipts")


def orders(stage: Stage) -> None:
    """A shop: orders come from the web, confirmations and shipping notices go out, some customers write back."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    shop = f"shop@{stage.ours[0].domains[0]}"
    for k in range(rng.randint(25, 60)):
        customer, at = crowd.someone(rng.choice(stage.outside)), crowd.moment()
        for j, subject in enumerate(("Your order", "Your parcel is on its way")):
            mail = Mail(
                shop, (customer,), size=8200 + rng.randint(0, 900), subject=f"{subject} {4000 + k}", kind="order", by="script"
            )
            world.submit(mail, at + j * rng.uniform(600, 5000))
        if rng.random() < 0.15:
            world.submit(crowd.write(customer, (shop,), f"Re: Your order {4000 + k}"), at + rng.uniform(60, 3000))
    world.benign.append(f"order confirmations of {shop}")


def long_chat(stage: Stage) -> None:
    """Two people write to and fro in minutes, for up to two hours."""
    rng, crowd = stage.rng, stage.crowd
    for _ in range(rng.randint(1, 3)):
        crowd.chat(rng.randint(18, 39))


def absences(stage: Stage) -> None:
    """A mail to everyone brings many absence notices, each author answered once; two of those absent also write to each other."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    everyone = sorted({crowd.someone(rng.choice([*stage.ours, *stage.outside])) for _ in range(40)})
    away = rng.sample(everyone, min(len(everyone), rng.randint(8, 16)))
    for person in away:
        style = rng.choice(("script", "sieve", "autoreply"))
        null = rng.random() < 0.8
        world.habit(person, Responder(world, person, spread(rng, 1, 20), 0.2, null, style, is_once=True, answers_null=False))
    author = crowd.someone(stage.ours[0])
    world.submit(crowd.write(author, tuple(p for p in everyone if p != author), "Summer party"), crowd.moment())
    for _ in range(6):
        a, b = rng.sample(away, 2)
        world.submit(crowd.write(a, (b,)), crowd.moment())
    world.benign.append(f"{len(away)} correct absence notices after a mail to {len(everyone)}")


def reply_all(stage: Stage) -> None:
    """People answer to all."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    everyone = sorted({crowd.someone(rng.choice([*stage.ours, *stage.outside[:2]])) for _ in range(14)})
    at, first = crowd.moment(), rng.choice(everyone)
    for k in range(rng.randint(8, 16)):
        author = first if k == 0 else rng.choice(everyone)
        mail = crowd.write(
            author, tuple(p for p in everyone if p != author), "Please take me off this list" if k else "Keys found"
        )
        world.submit(mail, at)
        at += rng.lognormvariate(4.4, 1.0)
    world.benign.append("people who reply to all")


def pop_collector(stage: Stage) -> None:
    """A program fetches mail from a provider and hands it in; mails that bear a Delivered-To of their reader are bounced."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    host = next((h for h in stage.ours if h.mta.name == "postfix"), None)
    if host is None:
        return single_bounces(stage)
    reader = crowd.someone(host)

    def gate(at: Host, stay: Stay, target: str, now: float) -> str | None:
        return "loop" if stay.source == "collector" and rng.random() < 0.5 else None

    world.box_gates.append(gate)
    for _ in range(rng.randint(10, 25)):
        mail = crowd.write(crowd.someone(rng.choice(stage.outside)), (reader,))
        mail.by = "collector"
        world.submit(mail, crowd.moment(), host)
    world.benign.append(f"collected mail for {reader}, some bounced for its Delivered-To")


def single_bounces(stage: Stage) -> None:
    """Mistyped addresses: one notification each."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    for k in range(rng.randint(10, 30)):
        a, b = crowd.pair()
        wrong = f"typo{k}@{b.rpartition('@')[2]}"
        (world.unknown if rng.random() < 0.7 else world.dead).add(wrong)
        world.submit(crowd.write(a, (wrong,)), crowd.moment())
    world.benign.append("mistyped addresses, each with one notification")


def same_message_id(stage: Stage) -> None:
    """A script that gives each of its reports one and the same Message-ID."""
    rng = stage.rng
    author = f"backup@{stage.ours[0].domains[0]}"
    to = stage.crowd.someone(stage.ours[-1])
    period = _period(stage, rng.randint(30, 80))
    n = _clockwork(stage, author, to, period, "Backup report", message_id=f"report@{stage.ours[0].name}")
    stage.world.benign.append(f"{author} sends {n} reports with one Message-ID")


def closed_tickets(stage: Stage) -> None:
    """An absence notice meets a ticket system that confirms once: two answers, then silence; many times over."""
    world, rng, crowd = stage.world, stage.rng, stage.crowd
    desk = f"help@{stage.ours[0].domains[0]}"
    world.habit(
        desk, Responder(world, desk, spread(rng, 1, 20), 0.2, False, "client", prefix="[#] ", is_once=True, answers_null=False)
    )
    for _ in range(rng.randint(10, 25)):
        person = crowd.someone(rng.choice([*stage.ours[1:], *stage.outside]))
        if person not in world.habits:
            world.habit(person, Responder(world, person, spread(rng, 1, 30), 0.2, rng.random() < 0.5, "sieve", is_once=True))
        world.submit(crowd.write(person, (desk,)), crowd.moment())
    world.benign.append(f"{desk} and absence notices, each answers once")


def several_aliases(stage: Stage) -> None:
    """Mails to several addresses at once, all of which lead to one mailbox: copies of one message arrive there again and again."""
    world, rng = stage.world, stage.rng
    reader = stage.crowd.someone(rng.choice(stage.ours))
    names = ("abuse", "postmaster", "security", "webmaster", "hostmaster", "noc")
    aliases = [f"{name}@{h.domains[0]}" for name in names for h in stage.ours if h.mta.name != "exchange"]
    if not aliases:
        return single_bounces(stage)
    aliases = rng.sample(aliases, min(len(aliases), rng.randint(3, 7)))
    for address in aliases:
        world.aliases[address] = Alias((reader,), rng.choice(("keep", "srs")))
    for _ in range(rng.randint(10, 25)):
        author = stage.crowd.someone(rng.choice([*stage.ours, *stage.outside]))
        to = {*rng.sample(aliases, rng.randint(3, len(aliases))), *rng.choice(((), (reader,)))}
        world.submit(stage.crowd.write(author, tuple(sorted(to))), stage.crowd.moment())
    world.benign.append(f"{len(aliases)} aliases of {reader}, several of which get the same mails")


def invitations(stage: Stage) -> None:
    """A person invites a meeting room dozens of times in a hurry; it accepts each at once."""
    world, rng = stage.world, stage.rng
    host = rng.choice(stage.ours)
    room = f"room@{host.domains[0]}"
    accept = Responder(world, room, spread(rng, 0.5, 6), 0.2, style="sieve", prefix="Accepted: ", answers_null=False)
    world.habit(room, lambda mail, *more: accept(mail, *more) if mail.kind == "human" else None)
    for _ in range(rng.randint(1, 4)):
        author, at = stage.crowd.someone(rng.choice(stage.ours)), stage.crowd.moment()
        median, uneven = spread(rng, 15, 60), rng.uniform(0.6, 1.2)
        for _ in range(rng.randint(8, 45)):
            world.submit(stage.crowd.write(author, (room,)), at)
            at += rng.lognormvariate(math.log(median), uneven)
    world.benign.append(f"{room} accepts each of many invitations at once")


def forwarded_burst(stage: Stage) -> None:
    """A person writes a dozen mails in a hurry to one whose rule forwards each as a mail of its own."""
    world, rng = stage.world, stage.rng
    reader, deputy = (stage.crowd.someone(rng.choice(stage.ours)) for _ in range(2))
    lag, sd = spread(rng, 1, 5), rng.uniform(0.1, 0.3)

    def send_on(mail: Mail, to: str, now: float, stay: Stay) -> None:
        if mail.kind == "human" and stay.sender and mail.author not in (reader, deputy):
            copy = stage.crowd.write(reader, (deputy,), f"Fwd: {mail.subject}", stay.size + 400)
            world.submit(copy, now + lag * rng.lognormvariate(0, sd))

    if reader != deputy:
        world.habit(reader, send_on)
    for _ in range(rng.randint(2, 6)):
        author, at = stage.crowd.someone(rng.choice(stage.ours)), stage.crowd.moment()
        median, uneven = spread(rng, 20, 240), rng.uniform(0.6, 1.2)
        for _ in range(rng.randint(8, 24) if author != reader else 0):
            world.submit(stage.crowd.write(author, (reader,)), at)
            at += rng.lognormvariate(math.log(median), uneven)
    world.benign.append(f"{reader} forwards bursts of mails to {deputy}")


LOOKALIKES: dict[str, Callable[[Stage], object]] = {
    f.__name__: f
    for f in (
        tickets, alarms, told_twice, crossing_monitors, echo_probe, newsletter, discussion, bounce_answerers, greylisting, receipts, orders,
        long_chat, absences, reply_all, pop_collector, single_bounces, same_message_id, closed_tickets, several_aliases, invitations,
        forwarded_burst,
    )
}  # fmt: skip
