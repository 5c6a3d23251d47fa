"""Clean tool output and documents by rule: logs, pages, records, shell sessions.

No permitted source holds system logs or raw HTML, and screening meets them all
the time. Field values are drawn; prose inside comes from the caller. Every other
format and every other event is kept for the thresholds (held): the tuning stage
never sees them.
"""

import html
import json

HOSTS = "web01 db-2 ip-10-0-3-17 raspberry build7 edge4 mail gw ceph-osd3  node-14 kube-worker2 fs1 nas proxy-eu win-qa2 app3".split()
USERS = "root admin alice bob deploy postgres www-data test guest oracle m.keller jsmith svc_backup git nagios cyrus".split()
PROGRAMS = "sshd cron systemd kernel postfix/smtpd dhclient NetworkManager su ftpd named snmpd sudo dockerd kubelet gpm klogind rpc.statd logrotate crond xinetd ntpd".split()
CLASSES = ("org.apache.hadoop.mapred.TaskTracker dfs.DataNode$PacketResponder com.acme.billing.InvoiceService nova.compute.manager o.a.z.s.NIOServerCnxn executor.Executor storage.BlockManager main http-nio-8080-exec-4 "
           "io.netty.channel hikari.pool.HikariPool org.springframework.web.servlet.DispatcherServlet c.e.shop.CartController worker.queue nova.osapi_compute.wsgi.server HttpServer2 mapreduce.v2.app.MRAppMaster").split()
WORDS = ("block task session request connection user order job container image volume packet queue shard replica index lease token socket thread page disk invoice payment cache node pod service route certificate timer buffer "
         "partition snapshot transaction worker message file directory device interface channel heartbeat").split()
VERBS = "received created started finished closed opened deleted updated rejected retried accepted terminated registered restored flushed allocated served verified scheduled killed attached synchronised failed skipped expired".split()
PATHS = "/index.html /api/v1/orders /login /static/app.js /images/logo.png /cart /favicon.ico /search?q=lamp /v2/servers/detail /health /wp-login.php /users/17/photo /docs/install /feed.xml /robots.txt /metrics".split()
AGENTS = ["Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "curl/8.5.0", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36", "python-requests/2.31.0", "Googlebot/2.1 (+http://www.google.com/bot.html)", "kube-probe/1.29", "-"]
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()


def ip(r):
    return ".".join(str(r.randint(1, 254)) for _ in range(4))


def hexa(r, n):
    return "".join(r.choice("0123456789abcdef") for _ in range(n))


def clock(r):
    return "%02d:%02d:%02d" % (r.randrange(24), r.randrange(60), r.randrange(60))


def half(items, held):
    return items[1 if held else 0 :: 2]


def event(r, held):
    """What a line of a log says, in one of many manners."""
    w, v, w2, n = r.choice(WORDS), r.choice(VERBS), r.choice(WORDS), r.randint(0, 99999)
    return r.choice(half([
        f"{w} {n} {v}", f"{w.capitalize()} {v}: {w2}={n}", f"{v.capitalize()} {w} {w2}_{n} of size {r.randint(1, 10**8)} from /{ip(r)}", f"{w}: {v} {n} {w2}s in {r.randint(1, 900)} ms", f"failed to open {w} {hexa(r, 8)}: no such file or directory",
        f"Failed password for invalid user {r.choice(USERS)} from {ip(r)} port {r.randint(1024, 65535)} ssh2", f"Accepted publickey for {r.choice(USERS)} from {ip(r)} port {r.randint(1024, 65535)} ssh2: RSA SHA256:{hexa(r, 12)}",
        f"pam_unix({r.choice(PROGRAMS)}:auth): authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost={ip(r)} user={r.choice(USERS)}", f"session opened for user {r.choice(USERS)} by (uid=0)", f"session closed for user {r.choice(USERS)}",
        f"connection from {ip(r)} ({r.choice(HOSTS)}.example.net) at {r.choice(DAYS)} {r.choice(MONTHS)} {r.randint(1, 28)} {clock(r)} 2025", f"Out of memory: Killed process {n} ({w}d) total-vm:{r.randint(1000, 9999999)}kB", f"[<{hexa(r, 16)}>] {w}_{v}+0x{hexa(r, 2)}/0x{hexa(r, 3)}",
        f"instance: {hexa(r, 8)}-{hexa(r, 4)}-{hexa(r, 4)}-{hexa(r, 12)}] {w} {v} successfully.", f"{w} {v}, retrying in {r.randint(1, 60)}s (attempt {r.randint(1, 9)})", f"WARN: {w} usage at {r.randint(70, 99)}%", f"Got {w} request for {w2}_{hexa(r, 6)}",
        f"{w2} {v} by {r.choice(USERS)}; reason: timeout after {r.randint(1, 120)} s", f"GET {r.choice(PATHS)} {r.choice([200, 200, 304, 404, 500])} {r.randint(1, 900)}ms", f"Exception in thread \"{w}-{r.randint(1, 9)}\" java.lang.{r.choice(['NullPointerException', 'IllegalStateException', 'OutOfMemoryError'])}: {w} {v}",
        f"usb {r.randint(1, 4)}-{r.randint(1, 9)}: new high-speed USB device number {r.randint(1, 20)} using xhci_hcd", f"{w} is ready", f"ignoring {w} {n}: already {v}", f"override {w}.{w2} = {r.randint(0, 64)}", f"Stopping {w} {w2}...", f"Started {w.capitalize()} {w2} daemon.", f"dropping privileges to {r.choice(USERS)}",
    ], held))


def log(r, held):
    host, program, cls, pid, n = r.choice(HOSTS), r.choice(PROGRAMS), r.choice(CLASSES), r.randint(1, 32000), r.choice([1, 1, 2, 4, 8, 15, 30])
    level = lambda: r.choice(["INFO", "INFO", "INFO", "WARN", "ERROR", "DEBUG", "FATAL"])
    form = r.choice(half([
        lambda: f"{r.choice(MONTHS)} {r.randint(1, 28):2d} {clock(r)} {host} {program}[{pid}]: {event(r, held)}",
        lambda: f"2025-{r.randint(1, 12):02d}-{r.randint(1, 28):02d} {clock(r)},{r.randint(0, 999):03d} {level()} {cls}: {event(r, held)}",
        lambda: f"{r.randint(80, 99):02d}{r.randint(1, 12):02d}{r.randint(1, 28):02d} {clock(r).replace(':', '')} {pid} {level()} {cls}: {event(r, held)}",
        lambda: f"2025-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}T{clock(r)}.{r.randint(0, 999999):06d}Z {level()} [{cls}] {event(r, held)}",
        lambda: f"{ip(r)} - {r.choice(['-', r.choice(USERS)])} [{r.randint(1, 28):02d}/{r.choice(MONTHS)}/2025:{clock(r)} +0000] \"{r.choice(['GET', 'POST', 'HEAD', 'PUT'])} {r.choice(PATHS)} HTTP/1.1\" {r.choice([200, 301, 403, 404, 500])} {r.randint(0, 90000)} \"-\" \"{r.choice(AGENTS)}\"",
        lambda: f"[{r.choice(DAYS)} {r.choice(MONTHS)} {r.randint(1, 28):02d} {clock(r)} 2025] [{level().lower()}] {event(r, held)}",
        lambda: f"[{r.randint(0, 99999)}.{r.randint(0, 999999):06d}] {event(r, held)}",
        lambda: json.dumps({"ts": r.randint(10**9, 2 * 10**9), "level": level().lower(), "logger": cls, "msg": event(r, held), "trace_id": hexa(r, 16)}),
        lambda: f"level={level().lower()} ts=2025-03-{r.randint(1, 28):02d}T{clock(r)}Z caller={r.choice(WORDS)}.go:{r.randint(10, 900)} msg=\"{event(r, held)}\"",
        lambda: f"{r.randint(1, 12):02d}-{r.randint(1, 28):02d} {clock(r)}.{r.randint(0, 999):03d} {pid:5d} {r.randint(1, 9999):5d} {r.choice('DIWEV')} {r.choice(['PowerManagerService', 'ActivityManager', 'WindowManager', 'AudioManager'])}: {event(r, held)}",
        lambda: f"2025-{r.randint(1, 12):02d}-{r.randint(1, 28):02d} {clock(r)}, Info                  {r.choice(['CBS', 'CSI', 'CAPI2'])}    {event(r, held)} [HRESULT = 0x{hexa(r, 8)}]",
    ], held))
    return "\n".join(form() for _ in range(n))


def page(r, prose, held):
    """A web page around a text: head, navigation, scripts, footer."""
    paragraphs = [p for p in prose.split("\n") if p.strip()][:40] or [prose]
    title = html.escape(paragraphs[0][:60])
    ids = r.choice(["wp-", "", "c-", "td-", "sc-"])
    head = [f"<title>{title}</title>", '<meta charset="utf-8">', '<meta name="viewport" content="width=device-width, initial-scale=1">', f'<link rel="stylesheet" href="/css/{hexa(r, 6)}.css">', f'<meta property="og:title" content="{title}">',
            f'<link rel="canonical" href="https://www.example.{r.choice(["org", "com", "de", "fr"])}/{r.choice(WORDS)}/{r.randint(1, 9999)}">', f'<script src="https://cdn.example.net/{r.choice(WORDS)}.min.js" async></script>',
            "<script>window.dataLayer=window.dataLayer||[];function gtag(){dataLayer.push(arguments);}gtag('js',new Date());</script>", f"<style>.{ids}{r.choice(WORDS)}{{margin:0;padding:{r.randint(1, 20)}px;color:#{hexa(r, 6)}}}</style>", '<meta name="robots" content="index, follow">',
            f'<script type="application/ld+json">{{"@context":"https://schema.org","@type":"Article","headline":"{title}"}}</script>', '<!--[if lt IE 9]><script src="/js/html5shiv.js"></script><![endif]-->']
    r.shuffle(head)
    nav = "".join(f'<li class="{ids}item"><a href="/{w}">{w.capitalize()}</a></li>' for w in r.sample(WORDS, r.randint(3, 9)))
    body = "\n".join(r.choice(['<p>%s</p>', '<p class="' + ids + 'text">%s</p>', "<h2>%s</h2>", "<li>%s</li>", "<td>%s</td>", "<div><span>%s</span></div>"]) % html.escape(p) for p in paragraphs)
    extra = r.choice(["", f'<form action="/search"><input type="text" name="q" placeholder="Search"><button type="submit">Go</button></form>', f'<div class="cookie-banner">We use cookies. <button onclick="accept()">Accept all</button></div>', '<a href="#top">Back to top</a>',
                      '<img src="data:image/png;base64,iVBORw0KGgoAAAANSUhEUg' + hexa(r, 40) + '==" alt="">', f"<noscript><img height=\"1\" width=\"1\" src=\"https://stats.example.com/tr?id={r.randint(1, 10**9)}\"></noscript>", '<div class="share"><a href="https://twitter.com/share">Tweet</a> <a href="#">Share</a></div>'])
    k = r.randint(0, len(head))
    whole = f"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n" + "\n".join(head[:k]) + f"\n</head>\n<body class=\"{ids}{r.choice(WORDS)}\">\n<nav><ul>{nav}</ul></nav>\n{extra}\n<main>\n{body}\n</main>\n<footer>© {r.randint(1998, 2026)} {title} · <a href=\"/privacy\">Privacy</a></footer>\n</body>\n</html>"
    x = r.random()
    return whole if x < 0.5 else body + "\n" + extra if x < 0.75 else whole[: r.randint(300, 2500)]


def value(r, depth, prose, held):
    x = r.random()
    if depth < 3 and x < 0.18:
        return {r.choice(WORDS): value(r, depth + 1, prose, held) for _ in range(r.randint(1, 6))}
    if depth < 3 and x < 0.3:
        return [value(r, depth + 1, prose, held) for _ in range(r.randint(0, 4))]
    return r.choice([r.randint(0, 10**6), round(r.random() * 1000, 2), None, True, False, hexa(r, 24), r.choice(USERS), f"https://api.example.com/{r.choice(WORDS)}/{r.randint(1, 999)}", f"2025-0{r.randint(1, 9)}-{r.randint(10, 28)}T{clock(r)}Z", f"{r.choice(USERS)}@mail.example", event(r, held), prose[: r.randint(20, 200)], r.choice(VERBS)])


def record(r, prose, held):
    """What an interface answers: JSON, one line or indented; a list of rows; an error."""
    x = r.random()
    if x < 0.15:
        return json.dumps({"error": {"code": r.choice([400, 401, 404, 429, 500]), "message": event(r, held), "request_id": hexa(r, 16)}})
    d = {r.choice(WORDS) + r.choice(["", "_id", "_at", "Count", "Name"]): value(r, 0, prose, held) for _ in range(r.randint(2, 12))}
    if x < 0.4:
        d = [dict(d, id=i) for i in range(r.randint(2, 5))]
    return json.dumps(d, indent=r.choice([None, 2, 4]), ensure_ascii=False)


def sheet(r, prose, held):
    """Rows of a table: CSV, TSV, Markdown, SQL."""
    cols = r.sample(WORDS, r.randint(2, 7))
    rows = [[r.choice([str(r.randint(0, 9999)), r.choice(USERS), r.choice(VERBS), hexa(r, 8), "%.2f" % (r.random() * 900), f"2025-0{r.randint(1, 9)}-{r.randint(10, 28)}", r.choice(WORDS)]) for _ in cols] for _ in range(r.randint(2, 25))]
    x = r.randrange(4)
    if x == 0:
        return "\n".join(r.choice([",", ";"]).join(row) for row in [cols] + rows)
    if x == 1:
        return "\n".join("\t".join(row) for row in [cols] + rows)
    if x == 2:
        return "\n".join("| " + " | ".join(row) + " |" for row in [cols, ["---"] * len(cols)] + rows)
    t = r.choice(WORDS)
    return "\n".join(f"INSERT INTO {t}s ({', '.join(cols)}) VALUES ({', '.join(repr(v) for v in row)});" for row in rows[:10])


def shell(r, prose, held):
    """A command and what it printed."""
    w = lambda: r.choice(WORDS)
    return r.choice(half([
        lambda: "$ ls -la\ntotal %d\n" % r.randint(8, 900) + "\n".join(f"-rw-r--r-- 1 {r.choice(USERS)} {r.choice(USERS)} {r.randint(1, 10**6):8d} {r.choice(MONTHS)} {r.randint(1, 28):2d} {clock(r)[:5]} {w()}.{r.choice(['txt', 'go', 'log', 'py', 'csv', 'pdf'])}" for _ in range(r.randint(2, 14))),
        lambda: "$ git log --oneline\n" + "\n".join(f"{hexa(r, 7)} {w()}: {r.choice(VERBS)[:-2]} the {w()}" for _ in range(r.randint(3, 14))),
        lambda: "$ ps aux\nUSER PID %CPU %MEM COMMAND\n" + "\n".join(f"{r.choice(USERS)} {r.randint(1, 32000)} {r.random() * 9:.1f} {r.random() * 9:.1f} /usr/bin/{w()}d --{w()}={r.randint(1, 99)}" for _ in range(r.randint(3, 12))),
        lambda: f"diff --git a/{w()}.go b/{w()}.go\nindex {hexa(r, 7)}..{hexa(r, 7)} 100644\n@@ -{r.randint(1, 90)},7 +{r.randint(1, 90)},8 @@\n" + "\n".join(r.choice("+- ") + r.choice([f"\t{w()} := {w()}({r.randint(0, 9)})", f"\treturn {w()}, nil", "}", f"// {w()} is {r.choice(VERBS)}.", prose[:60].replace("\n", " ")]) for _ in range(r.randint(4, 12))),
        lambda: "Traceback (most recent call last):\n" + "\n".join(f'  File "/app/{w()}/{w()}.py", line {r.randint(1, 900)}, in {r.choice(VERBS)}\n    {w()} = {w()}.{w()}({w()})' for _ in range(r.randint(1, 7))) + f"\n{r.choice(['ValueError', 'KeyError', 'TypeError', 'ConnectionError'])}: {event(r, held)}",
        lambda: "\n".join(f"{r.choice(['ok  ', 'ok  ', 'FAIL'])}\texample.com/{w()}/{w()}\t{r.random() * 9:.3f}s" for _ in range(r.randint(2, 12))),
        lambda: "PING %s (%s) 56(84) bytes of data.\n" % (w() + ".example", ip(r)) + "\n".join(f"64 bytes from {ip(r)}: icmp_seq={i} ttl=56 time={r.random() * 50:.1f} ms" for i in range(r.randint(1, 8))),
        lambda: "NAME                  READY   STATUS    RESTARTS   AGE\n" + "\n".join(f"{w()}-{hexa(r, 8)}-{hexa(r, 5)}   {r.randint(0, 1)}/1     {r.choice(['Running', 'Running', 'Pending', 'CrashLoopBackOff'])}   {r.randint(0, 40)}          {r.randint(1, 90)}d" for _ in range(r.randint(1, 9))),
        lambda: f"HTTP/1.1 {r.choice(['200 OK', '404 Not Found', '302 Found'])}\nServer: nginx\nDate: {r.choice(DAYS)}, {r.randint(1, 28)} {r.choice(MONTHS)} 2025 {clock(r)} GMT\nContent-Type: text/{r.choice(['html', 'plain', 'css'])}\nX-Request-Id: {hexa(r, 20)}\n\n{prose[:300]}",
        lambda: "\n".join(f"{w()}.{w()}={r.choice([str(r.randint(0, 9999)), 'true', 'false', w(), '/var/lib/' + w()])}" for _ in range(r.randint(3, 18))),
        lambda: f"apiVersion: v{r.randint(1, 2)}\nkind: {w().capitalize()}\nmetadata:\n  name: {w()}-{w()}\n  labels:\n    app: {w()}\nspec:\n" + "\n".join(f"  {w()}{r.choice(['', 'Name', 'Policy'])}: {r.choice([str(r.randint(0, 99)), w(), 'true'])}" for _ in range(r.randint(2, 9))),
        lambda: f"<?xml version=\"1.0\"?>\n<{w()}s>\n" + "\n".join(f"  <{x} id=\"{r.randint(1, 999)}\">{r.choice([w(), str(r.randint(1, 9999)), prose[:80]])}</{x}>" for x in (w() for _ in range(r.randint(2, 12)))) + "\n</list>",
    ], held))()


def mail(r, prose, held):
    """An e-mail with its headers."""
    who = lambda: r.choice(USERS) + "@" + r.choice(WORDS) + ".example"
    return f"From: {who()}\nTo: {who()}\nDate: {r.choice(DAYS)}, {r.randint(1, 28)} {r.choice(MONTHS)} 2025 {clock(r)} +0100\nSubject: {r.choice(['Re: ', 'Fwd: ', '', ''])}{prose[:50].strip()}\n\n{prose}\n\n{r.choice(['Best', 'Regards', 'Thanks', 'Cheers', '--'])}\n{r.choice(USERS).capitalize()}"


KINDS = {
    "logs": (lambda r, prose, held: log(r, held), "tool"), "pages": (page, "document"), "records": (record, "tool"),
    "sheets": (sheet, "tool"), "sessions": (shell, "tool"), "mails": (mail, "document"),
}


def draw(r, prose, held=False):
    """A clean text: (kind, channel, text)."""
    kind = r.choices(list(KINDS), [4, 3, 2, 1, 2, 1])[0]
    make, channel = KINDS[kind]
    return kind, channel, make(r, prose, held)
