package ledger

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// Telling is the ledger that tells what a transaction waits for which takes longer than some seconds: another session's lock, or
// a standby.
func (l *Ledger) Telling(tell func(doing, waits, remedy string)) *Ledger {
	t := *l
	t.tell = tell
	return &t
}

// waited is an error of a transaction that took too long, with what it waited for.
type waited struct {
	err           error
	waits, remedy string
}

func (w *waited) Error() string { return w.waits + ": " + w.err.Error() }
func (w *waited) Unwrap() error { return w.err }

// watched is a transaction of which is told what it waits for, the disk included if it writes much.
func (l *Ledger) watched(ctx context.Context, doing, begin string, much bool, fn func(tx pgx.Tx) error) error {
	if l.tell == nil {
		return postgres.InTx(ctx, l.pool, begin, fn)
	}
	var last atomic.Pointer[waited]
	err := postgres.InTxWatched(ctx, l.pool, begin, func(ctx context.Context, pid uint32) {
		now := l.waiting(ctx, pid, much)
		if before := last.Load(); now == nil || before != nil && before.waits == now.waits {
			return
		}
		last.Store(now)
		l.tell(doing+" in schema "+l.id.Schema, now.waits, now.remedy)
	}, fn)
	if w := last.Load(); w != nil && err != nil && (ctx.Err() != nil || postgres.TooSlow(err)) {
		w.err = err
		return w
	}
	return err
}

// waiting says what a session waits for, nil if it is for nobody, or can't be told.
func (l *Ledger) waiting(ctx context.Context, pid uint32, disk bool) *waited {
	asking, cancel := context.WithTimeout(ctx, postgres.ConnectTimeout)
	defer cancel()
	var rows []queries.SessionWaitRow
	name := l.session
	if pid != 0 {
		name = ""
	}
	err := postgres.Read(asking, l.pool, func(db postgres.DB) (err error) {
		rows, err = l.q.SessionWait(asking, db, queries.SessionWaitParams{Pid: int32(pid), Application: cmp.Or(name, "-")})
		return err
	})
	if err != nil || len(rows) == 0 {
		return nil
	}
	switch s := rows[0]; {
	case s.WaitEvent == "SyncRep":
		return &waited{
			waits:  fmt.Sprintf("waiting for a synchronous standby (SyncRep): synchronous_standby_names is %q, connected standbys: %d", s.Standbys, s.Connected),
			remedy: "Start the standby. To go on without it, as a superuser:  ALTER SYSTEM SET synchronous_standby_names = '';  SELECT pg_reload_conf();",
		}
	case s.WaitType == "Lock" && s.Pid != 0:
		since := ""
		if s.Since != nil {
			since = ", since " + human.Exact(*s.Since)
		}
		return &waited{
			waits:  fmt.Sprintf("waiting for a lock (%s) that is held by pid %d, role %q, application %q%s, %s", s.WaitEvent, s.Pid, s.Role, s.Application, since, cmp.Or(s.State, "state unknown")),
			remedy: fmt.Sprintf("Wait until that is done, or end it:  SELECT pg_terminate_backend(%d);", s.Pid),
		}
	case s.WaitType == "IO" && disk:
		return &waited{waits: "waiting for the disk (" + s.WaitEvent + ")", remedy: "The warehouse's disk is slow, or busy with something else: look at its load."}
	}
	return nil
}
