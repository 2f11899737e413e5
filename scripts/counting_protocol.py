#!/usr/bin/env python3
"""A randomized model checker for "Counting exactly once" in docs/ARCHITECTURE.md.

Everything random is in the choice of the next action, so a run is the list of its actions: it can be replayed, and shrunk by
deleting actions. A consumer's work on one partition is a generator which yields between any two atomic steps; a crash forgets it,
a freeze leaves it where it is. Messages to Redis lie in a bag: they arrive late, twice, or never. A COMMIT is on its way until the
server takes it.

  counting_protocol.py naive            shortest failing trace of each kind in the straightforward reading of it
  counting_protocol.py final [RUNS]  the protocol as it is, over RUNS random runs (default 20000)
  counting_protocol.py ablate [RUNS] the protocol with one rule taken away at a time, shortest trace of each
  counting_protocol.py show FLAGS KIND  e.g. `show final,cas=0 C2-back`: search and print one shrunk trace
"""
import copy, multiprocessing, random, sys, time

# ---------------------------------------------------------------------------------------------------------------- rules
FINAL = dict(
    reread=1,       # a refused CAS or a doubtful COMMIT: read next_offset again and go on from there while assigned
    idle_kill=1,    # the server ends a transaction whose client sits still (idle_in_transaction_session_timeout)
    doubt_abs=1,    # increments go to Redis only after a clean COMMIT; in doubt, absolute totals
    refetch=1,      # after a re-read nothing fetched earlier is used
    past_end=1,     # "already past" compares with the END of the batch
    epoch_tx=1,     # the epoch comes from the transaction / the snapshot, not from a copy made at assignment
    epoch_adv=1,    # the advance script compares epochs
    snapshot='one', # totals, offset and epoch in one statement ('batch': the batch's own new offset; 'two': two statements)
    guard=0,        # weaker: same epoch: the replace script applies only where its offset is greater
    cas=1,          # the replace script applies only where the hash is still as it was looked at before the totals were read
    lease=0,        # stronger: it needs a token which Redis gave out before the totals were read
    run=0,          # stronger: a hash counts only in the Redis process that wrote it (run_id)
    seek=1,         # ... and its own position with next_offset: a restored Postgres is behind it, even where nothing arrives
    verify=1,       # the owner compares Redis with Postgres at assignment and every few seconds
    detect=1,       # Redis ahead of Postgres in the same epoch: the owner bumps the epoch (compare-and-set)
    row_bump=1,     # a new consumer_offsets row makes a new epoch in the same transaction
    epoch='uuid',   # how a restore bumps: 'uuid' never used before | 'counter' +1 | 'late' later | 'none' nobody does
    c2=1,           # check what readers say while faults go on (0: only the state at rest)
    flush=0,        # the restore procedure clears the projection before Postgres is opened
    reader='cached', # 'pg': compares with the epoch read from Postgres in this request | 'cached' | 'marks' (cached + high-water)
)
NAIVE = dict(FINAL, cas=0, reread=0, idle_kill=0, doubt_abs=0, past_end=0, epoch_tx=0, snapshot='batch', guard=0, lease=0, run=0,
             verify=0, seek=0, detect=0, row_bump=0, epoch='counter')
FAULTS = ['crash', 'freeze', 'stop', 'rebalance', 'pgnet', 'pgcrash', 'restore', 'rnet', 'flush', 'evict', 'dump', 'register',
          'grow', 'bump', 'reader', 'single']     # 'single': one partition only
MAXREC, MAXP = 30, 3


class Bad(Exception):
    def __init__(self, kind, msg): self.kind, self.msg = kind, msg; super().__init__(f'{kind}: {msg}')


class Obj:
    def __init__(self, **k): self.__dict__.update(k)


class World:
    def __init__(self, flags, faults, tracing=False):
        self.f = Obj(**flags); self.faults = faults; self.trace = [] if tracing else None
        self.P, self.logs, self.keys_in = 1 if 'single' in faults else 2, [[] for _ in range(MAXP)], set()
        self.known = {0, 1} if 'register' in faults else {0, 1, 2}
        self.dead, self.uid, self.restores = set(), 0, 0
        self.pg = Obj(off={}, clicks={}, tot={}, epoch=1); self.txs = []; self.backups = [copy.deepcopy(self.pg)]
        self.redis, self.leases, self.run_id, self.clock, self.dumps, self.msgs = {}, {}, 0, 0, [({}, {})], []
        self.cons = [Obj(name=f'c{i}', alive=True, frozen=False, forever=False, tasks={}) for i in range(3)]
        self.owner = {}; self.floor, self.rfloor, self.tn, self.mn = {}, {}, 0, 0; self.silent = False
        self.readers, self.views = [], []
        for i in range(2): self.readers.append(Obj(name=f'r{i}', n=0)); self.start_reader(i)
        for p in range(self.P): self.give(p, p)

    def log(self, s):
        if self.trace is not None: self.trace.append(s)

    # ---- Kafka and its group
    def give(self, p, c):
        self.owner[p] = c; C = self.cons[c]
        if C.alive and not C.frozen:
            self.tn += 1; t = Obj(name=f'{C.name}/p{p}', c=C, p=p, pred=None, tick=False, over=False, id=self.tn, nm=0)
            t.gen = consumer(self, t); C.tasks[p] = t; t.pred = next(t.gen)

    def fetch(self, p, pos, n):
        r = [x for x in self.logs[p] if x[0] >= pos][:n]; return r, (r[-1][0] + 1 if r else pos)

    def end(self, p): return self.logs[p][-1][0] + 1 if self.logs[p] else 0

    # ---- Postgres
    def new_epoch(self): self.uid += 1; return f'u{self.uid}'

    def ensure_row(self, p):
        if p not in self.pg.off:
            self.pg.off[p] = 0
            if self.f.row_bump: self.pg.epoch = self.new_epoch()
        return self.pg.off[p]

    def locked(self, p): return any(x.p == p for x in self.txs)

    def end_tx(self, x, state, reply):
        if x in self.txs: self.txs.remove(x)
        x.state = state
        if reply: x.reply = state
        else: x.broken = True

    def apply_commit(self, x, reply):
        pg = self.pg; old = pg.off[x.p]
        if x.new <= old: raise Bad('D', f'next_offset of p{x.p} went from {old} to {x.new}')
        pg.off[x.p] = x.new
        for k, a in x.rows: pg.clicks[k] = (a, x.p)
        for a, n in x.inc.items(): pg.tot[(x.p, a)] = pg.tot.get((x.p, a), 0) + n
        g = {}
        for a, p in pg.clicks.values(): g[(p, a)] = g.get((p, a), 0) + 1
        if g != {k: v for k, v in pg.tot.items() if v}: raise Bad('B', f'totals {pg.tot} != rows {g}')
        self.end_tx(x, 'ok', reply)

    def snap(self, p): return Obj(epoch=self.pg.epoch, off=self.pg.off.get(p, 0), tot=self.tots(p), parts=sorted(self.pg.off))

    def tots(self, p): return {a: n for (q, a), n in self.pg.tot.items() if q == p}

    def pg_ads(self):
        r = {}
        for (p, a), n in self.pg.tot.items(): r[a] = r.get(a, 0) + n
        return r

    # ---- Redis: each method is one atomic script
    def hash(self, p):
        h = self.redis.get(p); return h if h and (not self.f.run or h.run == self.run_id) else None

    def s_advance(self, p, epoch, first, new, inc):
        h = self.hash(p)
        if not h or (self.f.epoch_adv and h.epoch != epoch): return ('gap', None)
        if h.off == first:
            for a, n in inc.items(): h.cnt[a] = h.cnt.get(a, 0) + n
            h.off = new; return ('ok', new)
        if h.off >= new if self.f.past_end else h.off > first: return ('past', h.off)
        return ('gap', h.off)

    def s_lease(self, p):
        self.clock += 1; self.leases[p] = (self.clock, self.run_id)      # nonce + TIME + run_id: new at every delivery
        h = self.hash(p); return (self.clock, h.epoch if h else None, h.off if h else None)

    def s_peek(self, p):
        h = self.hash(p); return (h.epoch, h.off) if h else (None, None)

    def s_replace(self, p, token, epoch, off, cnt):
        if self.f.lease and self.leases.get(p) != (token, self.run_id): return 'refused'
        h = self.hash(p)
        if self.f.cas and token != ((h.epoch, h.off) if h else (None, None)): return 'refused'
        if self.f.guard and h and h.epoch == epoch and h.off >= off: return 'past'
        self.leases.pop(p, None); self.redis[p] = Obj(epoch=epoch, off=off, cnt=dict(cnt), run=self.run_id); return 'ok'

    def deliver(self, m, lose):
        m.copies -= 1; r = getattr(self, 's_' + m.fn)(*m.args); lose or m.failed or m.reply is not None or setattr(m, 'reply', (r,))
        self.log(f'      Redis: {m.name} -> {r}' + ('  (reply lost)' if lose else '') + self.show_redis(m.args[0]))
        self.gc(m)

    def show_redis(self, p):
        h = self.redis.get(p); return f'   [p{p}: {h.epoch}@{h.off} {h.cnt}]' if h else f'   [p{p}: nothing]'

    def gc(self, m):
        if m.copies == 0 and (m.failed or m.reply is not None or m.t.over) and m in self.msgs: self.msgs.remove(m)

    # ---- readers
    def start_reader(self, i):
        R = self.readers[i]; R.n += 1; R.gen = reader(self, R); R.pred = next(R.gen); R.ceil = {}; R.seen = self.restores

    def answer(self, R, v, src):
        self.log(f'{R.name} answers {v} from {src}')
        R.last = (src, v)
        if src == 'Postgres' or self.silent or not self.f.c2: return
        now, marks = self.pg_ads(), self.f.reader == 'marks'
        for a in sorted(set(v) | set(R.floor0)):
            x, top = v.get(a, 0), max(now.get(a, 0), R.ceil.get(a, 0))
            if x > top: raise Bad('C2-above', f'{R.name} answered {x} for ad {a} from Redis, Postgres has {top}')
            if R.seen == self.restores and x < R.floor0.get(a, 0):
                raise Bad('C2-back', f'{R.name} answered {x} for ad {a} from Redis after {R.floor0[a]}')
        if R.seen == self.restores:
            fl = self.rfloor.setdefault(R.name, {}) if marks else self.floor
            for a, x in v.items(): fl[a] = max(fl.get(a, 0), x)

    def observe(self):
        """A reader that asks after every single action, and, where readers cache the epoch, one for every epoch there ever was."""
        if self.silent or not self.f.c2 or self.f.reader == 'marks': return
        now = (self.pg.epoch, tuple(sorted(self.pg.off)))
        if self.f.reader == 'cached' and now not in self.views: self.views.append(now)
        h = {p: self.hash(p) for p in self.redis}; top = None
        for ep, parts in self.views if self.f.reader == 'cached' else [now]:
            if not parts or not all(h.get(p) and h[p].epoch == ep for p in parts): continue
            v = {}
            for p in parts:
                for a, n in h[p].cnt.items(): v[a] = v.get(a, 0) + n
            top = top or self.pg_ads()
            for a, x in v.items():
                if x > top.get(a, 0): raise Bad('C2-above', f'a reader that knows {ep} gets {x} for ad {a} from Redis, Postgres has {top.get(a, 0)}')
            for a, x in self.floor.items():
                if v.get(a, 0) < x: raise Bad('C2-back', f'a reader that knows {ep} gets {v.get(a, 0)} for ad {a} from Redis, which said {x} before')
            self.floor.update(v)

    # ---- what may happen next
    def actions(self, quiet=False):
        A, F = [], (set() if quiet else self.faults)
        add = lambda w, cat, *a: A.append((w, cat, a))
        for c in self.cons:
            for p, t in sorted(c.tasks.items()):
                if c.frozen: continue
                if t.pred is None or t.pred():
                    for n in ((2,) if quiet else (1, 2, 3)): add(10, 'step', t.name, n)
                if self.owner.get(p) != int(c.name[1]): add(2, 'revoke', t.name)
                elif not quiet and self.f.verify and not t.tick: add(2, 'tick', t.name)
        for m in self.msgs:
            wait = not m.failed and m.reply is None and not m.t.over
            if m.copies: add(8, 'deliver', m.name)
            if 'rnet' in F:
                if m.copies: add(1, 'lose', m.name); add(1, 'drop', m.name)
                if wait and m.sent < 3: add(1, 'resend', m.name)
                if wait: add(1, 'giveup', m.name)
            elif wait and not m.copies: add(5, 'giveup', m.name)
        for x in self.txs:
            if x.state == 'committing':
                add(8, 'commit', x.name)
                if 'pgnet' in F: add(1, 'commit_lose', x.name)
                if ('pgnet' in F or x.gone) and not x.broken: add(1, 'break', x.name)
                if 'pgnet' in F and (x.broken or x.gone): add(2, 'abort', x.name)
            elif x.gone or (self.f.idle_kill and x.t.c.frozen): add(4, 'abort', x.name)
            elif 'pgnet' in F: add(1, 'break', x.name)
        for R in self.readers:
            if not quiet: add(5, 'read', R.name)
        if quiet: return A
        if sum(map(len, self.logs)) < MAXREC:
            for k in range(12): add(4, 'produce', k)
        for c in self.cons:
            if 'crash' in F: add(1, 'crash' if c.alive else 'restart', c.name)
            if c.alive and not c.frozen and 'freeze' in F: add(1, 'freeze', c.name)
            if c.alive and not c.frozen and 'stop' in F and sum(x.forever for x in self.cons) < 2: add(1, 'stop', c.name)
            if c.frozen and not c.forever: add(3, 'thaw', c.name)
        if 'rebalance' in F or 'crash' in F or 'freeze' in F or 'stop' in F:
            for p in range(self.P):
                for i, c in enumerate(self.cons):
                    if c.alive and not c.frozen and (self.owner[p] != i or p not in c.tasks): add(2, 'move', p, c.name)
        if 'pgcrash' in F: add(1, 'pgcrash')
        if 'restore' in F:
            add(1, 'backup')
            for i in range(len(self.backups)): add(1, 'restore', i)
            if self.f.epoch == 'late': add(1, 'bump')
        if 'flush' in F: add(1, 'flush')
        if 'evict' in F:
            for p in self.redis: add(1, 'evict', p)
        if 'dump' in F:
            add(1, 'dump')
            for i in range(len(self.dumps)): add(1, 'load', i)
        if 'register' in F and 2 not in self.known: add(1, 'register')
        if 'grow' in F and self.P < MAXP: add(1, 'grow')
        if 'bump' in F and self.f.epoch == 'uuid': add(1, 'bump')
        if 'reader' in F:
            for i in range(2): add(1, 'newreader', i)
        return A

    def do(self, cat, a): self.act(cat, a); self.observe()

    def act(self, cat, a):
        get = lambda xs, n: next(x for x in xs if x.name == n)
        if cat == 'step':
            c = get(self.cons, a[0][:2]); t = c.tasks[int(a[0][4:])]
            try: t.pred = t.gen.send(a[1])
            except StopIteration: t.over = True; del c.tasks[t.p]
        elif cat == 'read': R = get(self.readers, a[0]); R.pred = next(R.gen)
        elif cat == 'produce':
            k = a[0]; p = k % self.P; off = self.end(p) + (1 if k % 5 == 0 else 0)
            self.logs[p].append((off, k, k % 3)); self.keys_in.add(k); self.log(f'player: key {k} (ad {k % 3}) -> p{p}@{off}, acked')
        elif cat in ('deliver', 'lose'): self.deliver(get(self.msgs, a[0]), cat == 'lose')
        elif cat == 'tick': c = get(self.cons, a[0][:2]); c.tasks[int(a[0][4:])].tick = True
        else:
            if cat in ('drop', 'resend', 'giveup'):
                m = get(self.msgs, a[0])
                if cat == 'drop': m.copies -= 1
                elif cat == 'resend': m.copies += 1; m.sent += 1
                else: m.failed = True
                self.gc(m)
            elif cat in ('commit', 'commit_lose', 'break', 'abort'):
                x = get(self.txs, a[0])
                if cat == 'abort': self.end_tx(x, 'error', False)
                elif cat == 'break': x.broken = True; x.gone = True
                else: self.apply_commit(x, cat == 'commit' and not x.broken)
            elif cat == 'revoke': self.drop_task(a[0])
            elif cat in ('crash', 'restart', 'freeze', 'stop', 'thaw'):
                c = get(self.cons, a[0])
                if cat == 'crash':
                    for t in list(c.tasks.values()): self.drop_task(t.name)
                    c.alive, c.frozen, c.forever = False, False, False
                elif cat == 'restart': c.alive = True
                else: c.frozen = cat != 'thaw'; c.forever = cat == 'stop'
            elif cat == 'move':
                c = get(self.cons, a[1])
                if a[0] in c.tasks: self.drop_task(c.tasks[a[0]].name)
                self.log(f'--- move p{a[0]} to {a[1]}'); self.give(a[0], int(a[1][1])); return
            elif cat == 'pgcrash':
                for x in list(self.txs): self.end_tx(x, 'error', False)
            elif cat == 'backup': self.backups.append(copy.deepcopy(self.pg))
            elif cat == 'restore':
                for x in list(self.txs): self.end_tx(x, 'error', False)
                pre = self.pg_ads()
                for R in self.readers:
                    for k, v in pre.items(): R.ceil[k] = max(R.ceil.get(k, 0), v)
                self.pg = copy.deepcopy(self.backups[a[0]]); self.restores += 1; self.floor, self.rfloor = {}, {}
                if self.f.epoch == 'uuid': self.pg.epoch = self.new_epoch()
                elif self.f.epoch == 'counter': self.pg.epoch += 1
                elif self.f.epoch == 'none': self.silent = True
                if self.f.flush: self.redis.clear(); self.leases.clear()
            elif cat == 'bump': self.pg.epoch = self.new_epoch()
            elif cat == 'flush': self.redis.clear(); self.leases.clear()
            elif cat == 'evict': del self.redis[a[0]]
            elif cat == 'dump': self.dumps.append((copy.deepcopy(self.redis), dict(self.leases)))
            elif cat == 'load': r, l = self.dumps[a[0]]; self.redis, self.leases = copy.deepcopy(r), dict(l); self.run_id += 1
            elif cat == 'register': self.known = {0, 1, 2}
            elif cat == 'grow': self.P += 1; self.owner[self.P - 1] = self.owner[0]; self.give(self.P - 1, self.owner[0])
            elif cat == 'newreader': self.start_reader(a[0])
            self.log(f'--- {cat} {" ".join(map(str, a))}' + (f'   [Postgres: {self.pg.epoch} {self.pg.off} {self.pg.tot}]'
                     if cat in ('commit', 'commit_lose', 'restore', 'bump') else ''))

    def drop_task(self, name):
        c = next(c for c in self.cons if c.name == name[:2]); t = c.tasks.pop(int(name[4:])); t.over = True
        for x in self.txs:
            if x.t is t: x.gone = True
        for m in list(self.msgs): self.gc(m)

    # ---- quiescence
    def settle(self):
        rng = random.Random(7); self.log('=== no more faults; everybody alive may finish')
        for c in self.cons:
            if c.frozen and not c.forever: c.frozen = False
        ok = [i for i, c in enumerate(self.cons) if c.alive and not c.frozen]
        if not ok:
            c = self.cons[0]; ok = [0]
            for t in list(c.tasks.values()): self.drop_task(t.name)
            c.alive, c.frozen, c.forever = True, False, False
        for c in self.cons:
            for p in list(c.tasks):
                if not c.frozen and self.owner[p] != int(c.name[1]): self.drop_task(f'{c.name}/p{p}')
        for p in range(self.P):
            c = self.cons[self.owner[p]]
            if not c.alive or c.frozen or (p not in c.tasks and self.silent_owner(c, p)): self.give(p, ok[p % len(ok)])
        for rnd in range(4):
            for _ in range(3000):
                A = self.actions(quiet=True)
                if not A: break
                w, cat, a = rng.choice(A); self.do(cat, a)
            else: raise Bad('livelock', 'never quiet')
            if rnd < 3 and self.f.verify:
                for c in self.cons:
                    if not c.frozen:
                        for t in c.tasks.values(): t.tick = True
        for p in range(self.P):
            if self.pg.off.get(p, 0) != self.end(p):
                raise Bad('A-stuck', f'p{p}: next_offset {self.pg.off.get(p)} of {self.end(p)} and nobody goes on')
        for k in self.keys_in:
            if k not in self.pg.clicks and k not in self.dead: raise Bad('A-lost', f'acked key {k} is neither stored nor dead')
        for p in range(self.P):
            h = self.hash(p)
            if not h or h.epoch != self.pg.epoch: raise Bad('C-missing', f'idle, and Redis still cannot answer for p{p}')
            if {a: n for a, n in h.cnt.items() if n} != self.tots(p):
                raise Bad('C-wrong', f'idle: Redis p{p} {h.cnt}@{h.off} is trusted, Postgres has {self.tots(p)}@{self.pg.off[p]}')
        for i in range(2):
            R = self.readers[i]; R.last = None
            for _ in range(20): R.pred = next(R.gen)
            if R.last[0] != 'Redis' or {a: n for a, n in R.last[1].items() if n} != self.pg_ads():
                raise Bad('C-reader', f'idle: {R.name} answers {R.last}')

    def silent_owner(self, c, p): return not getattr(c, 'let_go', {}).get(p)   # a task that let go of its partition stays away


# ------------------------------------------------------------------------------------------------- one partition's consumer
def call(w, t, fn, *args):
    t.nm += 1; m = Obj(name=f'{t.name}#{t.id}.{t.nm} {fn}{args}', fn=fn, args=args, t=t, copies=1, sent=1, reply=None, failed=False)
    w.msgs.append(m); yield lambda: m.reply is not None or m.failed
    return m.reply[0] if m.reply else None


def rebuild(w, t, new, epoch):
    """Replace the partition's hash with absolute totals."""
    f, p = w.f, t.p
    for _ in range(3):
        token = hep = hoff = None
        if f.lease:
            r = yield from call(w, t, 'lease', p)
            if r is None: return
            token, hep, hoff = r
        elif f.detect:
            r = yield from call(w, t, 'peek', p)
            if r is None: return
            hep, hoff = r
        if f.cas: token = (hep, hoff)
        yield None
        s = w.snap(p)
        if f.snapshot == 'batch' and new is not None: s.off = new
        if not f.epoch_tx: s.epoch = epoch
        w.log(f'{t.name} reads totals {s.tot}, will say {s.epoch}@{s.off}')
        if f.snapshot == 'two': yield None; s.off = w.pg.off.get(p, 0); w.log(f'{t.name} reads next_offset {s.off}')
        if f.detect and hep == s.epoch and hoff > s.off:
            yield None
            if w.pg.epoch == hep: w.pg.epoch = w.new_epoch(); w.log(f'{t.name}: Redis@{hoff} is ahead; epoch is now {w.pg.epoch}')
            continue
        r = yield from call(w, t, 'replace', p, token, s.epoch, s.off, s.tot)
        if r != 'refused': return


def verify(w, t, epoch):
    r = yield from call(w, t, 'peek', t.p)
    yield None                                                   # Postgres is asked even where Redis did not answer
    w.ensure_row(t.p); s = w.snap(t.p); off = s.off
    if not w.f.epoch_tx: s.epoch = epoch
    if r and (s.epoch, s.off) != r:
        w.log(f'{t.name} finds Redis at {r}, Postgres at {(s.epoch, s.off)}'); yield from rebuild(w, t, None, epoch)
    return off


def store(w, t, pos, new, recs):
    """The transaction. Returns (outcome, tx): ok | lost (CAS refused) | error (certainly rolled back) | doubt."""
    p = t.p
    yield lambda: not w.locked(p)
    if w.pg.off.get(p) != pos: w.log(f'{t.name} CAS {pos}->{new} refused, it is {w.pg.off.get(p)}'); return 'lost', None
    x = Obj(name=f'tx{t.id}.{pos}', t=t, p=p, new=new, rows=[], inc={}, epoch=w.pg.epoch, state='open', reply=None, broken=False,
            gone=False); w.txs.append(x)
    w.log(f'{t.name} BEGIN, CAS {pos}->{new}')
    yield lambda: x.broken or not any(y is not x and {k for k, _ in y.rows} & {k for _, k, _ in recs} for y in w.txs)
    if x.broken: return 'error', x
    seen = set(w.pg.clicks)
    for _, k, a in recs:
        if a not in w.known: w.dead.add(k)                      # acknowledged by the dead-letter topic before the COMMIT
        elif k not in seen: seen.add(k); x.rows.append((k, a))
    w.log(f'{t.name} inserts {[k for _, k, _ in recs]}, new are {[k for k, _ in x.rows]}')
    yield None
    if x.broken: return 'error', x
    for _, a in x.rows: x.inc[a] = x.inc.get(a, 0) + 1
    yield None
    if x.broken: return 'error', x
    x.state = 'committing'; w.log(f'{t.name} sends COMMIT')
    yield lambda: x.reply or x.broken
    return (x.reply, x) if x.reply else ('doubt', x)


def consumer(w, t):
    f, p = w.f, t.p
    yield None
    pos = w.ensure_row(p); epoch = w.pg.epoch; w.log(f'{t.name} starts at {pos}, {epoch}')
    if f.verify: yield from verify(w, t, epoch)
    stale = None                                                 # where the fetcher stood when the position was set back
    while True:
        n = yield lambda: t.tick or w.fetch(p, pos, 1)[0]
        if t.tick:
            t.tick = False; off = yield from verify(w, t, epoch)
            if f.seek and off != pos: w.log(f'{t.name} goes from {pos} to {off}'); stale, pos = pos, off
            continue
        recs, new = w.fetch(p, pos, n)
        if stale and not f.refetch and stale > pos:              # records fetched before the seek are still in the queue
            r2, n2 = w.fetch(p, stale, n)
            if r2: recs, new = r2, n2
        stale = None
        if not recs: continue
        out, x = yield from store(w, t, pos, new, recs)
        if out == 'error': w.log(f'{t.name} rolled back, tries again'); continue
        if out != 'ok':
            yield None
            now = w.ensure_row(p) if f.reread else w.pg.off.get(p); w.log(f'{t.name} {out}: reads next_offset {now}')
            if not (out == 'doubt' and now == new and not f.doubt_abs):      # naive: next_offset is ours, so the commit was ours
                if f.reread:
                    stale, pos = new, now
                    yield from verify(w, t, epoch) if f.verify else rebuild(w, t, pos, epoch)
                elif out == 'lost' or now != pos:
                    w.log(f'{t.name}: another consumer owns this; drops it'); t.c.__dict__.setdefault('let_go', {})[p] = 1; return
                continue
        r = yield from call(w, t, 'advance', p, x.epoch if f.epoch_tx else epoch, pos, new, x.inc)
        if r and (r[0] == 'gap' or (r[0] == 'past' and f.detect and r[1] > new)): yield from rebuild(w, t, new, epoch)
        pos = new
        yield None                                               # the commit to Kafka: for displays only


# ------------------------------------------------------------------------------------------------------------- a reader
def reader(w, R):
    cache, marks = None, {}
    while True:
        yield None
        R.ceil, R.seen = {}, w.restores
        R.floor0 = dict(w.rfloor.get(R.name, {}) if w.f.reader == 'marks' else w.floor)
        good = None
        if cache is None or w.f.reader == 'pg':
            if w.f.reader != 'pg': good = False
        if good is None:
            h = {p: copy.deepcopy(w.hash(p)) for p in w.redis if w.hash(p)}      # one script
            yield None
            ep, parts = (w.pg.epoch, sorted(w.pg.off)) if w.f.reader == 'pg' else cache
            good = bool(parts) and all(p in h and h[p].epoch == ep for p in parts)
            if good and w.f.reader == 'marks': good = all(h[p].off >= marks.get((ep, p), 0) for p in parts)
        if good:
            v = {}
            for p in parts:
                for a, n in h[p].cnt.items(): v[a] = v.get(a, 0) + n
                marks[(ep, p)] = h[p].off
            w.answer(R, v, 'Redis')
        else:
            yield None
            cache = (w.pg.epoch, sorted(w.pg.off)); v = w.pg_ads()
            for p, o in w.pg.off.items(): marks[(w.pg.epoch, p)] = o
            w.answer(R, v, 'Postgres')


# --------------------------------------------------------------------------------------------------- searching, shrinking
NORMAL = {'step', 'deliver', 'commit', 'produce', 'read', 'revoke', 'tick', 'giveup', 'thaw', 'abort', 'restart'}


def look(w):
    """What the state looks like from afar, partition by partition; a run that shows something new is worth going on from."""
    for p in range(w.P):
        h, o, l = w.redis.get(p), w.pg.off.get(p, -1), w.leases.get(p)
        d = lambda x: max(-2, min(2, x - o))
        t = []
        for c in w.cons:
            g = c.tasks[p].gen if p in c.tasks else None; ln = []
            while g is not None and g.gi_frame: ln.append(g.gi_frame.f_lineno); g = g.gi_yieldfrom
            if ln: t.append((c.frozen, tuple(ln)))
        yield (h and (d(h.off), h.epoch == w.pg.epoch, h.run == w.run_id, {a: n for a, n in h.cnt.items() if n} == w.tots(p)),
               l and l[1] == w.run_id, tuple(sorted(t)), tuple(sorted((x.state, x.broken, x.gone) for x in w.txs if x.p == p)),
               tuple(sorted({(m.fn, m.copies, m.failed or m.t.over, m.fn in ('advance', 'replace') and d(m.args[-2]),
                              m.fn in ('advance', 'replace') and m.args[-4 if m.fn == 'advance' else -3] == w.pg.epoch)
                             for m in w.msgs if m.args[0] == p and m.copies})), o < w.end(p), 2 in w.known)


def one(flags, rng, pool, prefix=None, seen=None):
    """One random run. Each has its own set of faults, weights, and slow tasks and messages (drawn again now and then)."""
    faults = {x for x in pool if rng.random() < rng.choice((.15, .4, .7))}
    steps, scale, slow, slows = rng.choice((30, 60, 120, 250)), rng.choice((.03, .1, .3, 1)), rng.random() < .6, {}
    boost = {k: rng.choice((.3, 1, 1, 3)) for k in ('step', 'deliver', 'commit', 'produce', 'read', 'tick', 'move', 'revoke')}
    keys, acts, new, strict = rng.choice((3, 5, 12)), [], 0, rng.choice((None, None, .1, .3))
    if prefix: faults = (faults - {'single', 'register'}) | (prefix[0] & {'single', 'register'})

    def weight(cat, wt, a, n):
        x = wt * boost.get(cat, 1) * (1 if cat in NORMAL else scale) * min(3, n) / n
        if slow and cat in ('step', 'deliver', 'commit', 'abort', 'read', 'revoke', 'giveup', 'thaw'):
            x *= slows.get((cat, a[0])) or slows.setdefault((cat, a[0]), rng.choice((.003, .1, 1, 1)))
        return x

    w = World(flags, faults)
    try:
        for a in prefix[1] if prefix else (): acts.append(a); w.do(*a)
        for _ in range(steps):
            if rng.random() < .01: slows.clear()
            A = [x for x in w.actions() if x[1] != 'produce' or x[2][0] < keys]; n = {}
            if strict is None:
                for _, cat, _ in A: n[cat] = n.get(cat, 0) + 1
                _, cat, a = rng.choices(A, [weight(c, wt, a, n[c]) for wt, c, a in A])[0]
            else:                            # strict priorities; now and then an event, or the one in front falls back
                top = [x for x in A if x[1] in ('step', 'deliver', 'commit')]
                for x in top: slows.setdefault(x[2][0], rng.random())
                best = max(top, key=lambda x: slows[x[2][0]], default=None)
                if best and rng.random() > strict:
                    cat, a = rng.choice([x for x in top if x[2][0] == best[2][0]])[1:]
                else:
                    if best and rng.random() < .4: slows[best[2][0]] = rng.random() - 1
                    rest = [x for x in A if x not in top] or top
                    cat = rng.choice(sorted({x[1] for x in rest})); a = rng.choice([x[2] for x in rest if x[1] == cat])
            acts.append((cat, a)); w.do(cat, a)
            if seen is not None:
                for x in look(w):
                    if x not in seen: seen.add(x); new = len(acts)
        w.settle()
    except Bad as b: return b, faults | (prefix[0] if prefix else set()), acts, 0
    return None, faults, acts, new


def replay(flags, faults, acts, tracing=False):
    w, done = World(flags, faults, tracing), []
    try:
        for cat, a in acts:
            if any(c == cat and x == a for _, c, x in w.actions()): done.append((cat, a)); w.do(cat, a)
        w.settle()
    except Bad as b: return b, done, w.trace
    return None, done, w.trace


def shrink(flags, faults, acts, kind):
    best, size = acts, max(1, len(acts) // 2)
    while size:
        i, hit = 0, False
        while i < len(best):
            b, done, _ = replay(flags, faults, best[:i] + best[i + size:])
            if b and b.kind == kind and len(done) < len(best): best, hit = done, True
            else: i += size
        size = size if hit and size == 1 else size // 2
    return best


def work(job):
    flags, seed, runs, pool = job; rng = random.Random(seed); found, corpus, seen = {}, [], set()
    for i in range(runs):
        prefix = None
        if corpus and rng.random() < .7:
            fa, ac = corpus[rng.randrange(max(0, len(corpus) - 300), len(corpus)) if rng.random() < .7 else rng.randrange(len(corpus))]
            prefix = (fa, ac[:rng.randint(len(ac) // 2, len(ac))])
        b, faults, acts, new = one(flags, rng, pool, prefix, seen)
        if new and new < 350: corpus.append((faults, acts[:new]))
        if b: e = found.setdefault(b.kind, [0, []]); e[0] += 1; e[1].append((len(acts), faults, acts)); e[1].sort(key=lambda x: x[0]); del e[1][3:]
    return found, len(seen)


def search(flags, runs, pool=None, seed=1):
    n = min(runs, 2500); jobs = [(flags, seed * 1000 + i, min(n, runs - i * n), pool or FAULTS) for i in range(-(-runs // n))]; tot = {}
    with multiprocessing.Pool() as po:
        for f, _ in po.imap_unordered(work, jobs):
            for k, (c, l) in f.items():
                e = tot.setdefault(k, [0, []]); e[0] += c; e[1] = sorted(e[1] + l, key=lambda x: x[0])[:6]
    return tot


def shortest(flags, cands, kind):
    best = None
    for _, faults, acts in cands:
        r = shrink(flags, faults, acts, kind)
        if best is None or len(r) < len(best[1]): best = (faults, r)
    return best


def show(flags, best):
    b, done, tr = replay(flags, *best, True)
    for line in tr: print('   ', line)
    print('   ', '!!!', b, f'   ({len(done)} actions)\n')


def report(name, flags, runs, traces=True, only=None, seed=1):
    t0 = time.time(); tot = search(flags, runs, only, seed)
    print(f'## {name}: {runs} runs, violations: ' + (', '.join(f'{k} {c}' for k, (c, _) in sorted(tot.items())) or 'none')
          + f'  ({time.time() - t0:.0f} s)', flush=True)
    if traces:
        for k, (c, l) in sorted(tot.items()): print(f'# {k}'); show(flags, shortest(flags, l, k)); sys.stdout.flush()
    return tot


def parse(s):
    parts = s.split(','); fl = dict(NAIVE if parts[0] == 'naive' else FINAL)
    for kv in parts[1:]:
        k, v = kv.split('='); assert k in fl, k; fl[k] = int(v) if v.isdigit() else v
    return fl


if __name__ == '__main__':
    cmd = sys.argv[1] if len(sys.argv) > 1 else 'final'; arg = sys.argv[2] if len(sys.argv) > 2 else None
    if cmd == 'naive': report('naive', NAIVE, int(arg or 4000))
    elif cmd == 'final':
        n = int(arg or 20000)
        report('all faults but restores of Postgres and old dumps of Redis: A, B, D always, C at rest, C2 always', FINAL, n,
               only=[x for x in FAULTS if x not in ('restore', 'dump')])
        report('all faults: A, B, D always, C at rest', dict(FINAL, c2=0), n)
    elif cmd == 'ablate':
        n = int(arg or 4000)
        for k, v in list(FINAL.items()):
            for alt in {'snapshot': ['batch', 'two'], 'epoch': ['counter', 'late'], 'reader': ['cached', 'marks'], 'flush': []}.get(k, [0]):
                fl = dict(FINAL, **{k: alt})
                if alt == 'counter': fl['row_bump'] = fl['detect'] = 0
                report(f'final but {k}={alt}', fl, n)
    elif cmd == 'show':
        fl = parse(arg); only = sys.argv[4].split(',') if len(sys.argv) > 4 else None; tot = search(fl, 4000, only); kind = sys.argv[3]
        print({k: c for k, (c, _) in tot.items()})
        if kind in tot: show(fl, shortest(fl, tot[kind][1], kind))
