package ledger

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
)

const (
	// lockTimeout is how long a migration waits for a table. Whoever comes after it waits behind it, so it
	// is short, and others pass between two tries.
	lockTimeout = "3s"
	lockPause   = time.Second
	// tablePatience is for how long in all, pauses included.
	tablePatience = time.Minute
)

// blocked says who keeps a migration from the tables.
func (m *migrator) blocked(ctx context.Context, err error) error {
	holders, lookErr := m.q.LockHolders(ctx, m.pool, m.schema)
	var who, end []string
	for _, h := range holders {
		since := ""
		if h.Since != nil {
			since = ", since " + human.Exact(*h.Since)
		}
		who = append(who, fmt.Sprintf("%q by pid %d, role %q, application %q%s, %s", h.Relation, h.Pid, h.Role, h.Application, since, cmp.Or(h.State, "state unknown")))
		end = append(end, fmt.Sprintf("SELECT pg_terminate_backend(%d);", h.Pid))
	}
	e := &fault.Error{Kind: fault.Failed, Text: fmt.Sprintf("migrating schema %q: its tables were locked for %s", m.id.Schema, human.Duration(m.waited)), Err: err}
	if lookErr != nil || len(who) == 0 {
		return e.WithHint("Find the session, and end it or wait for it: "+lockedBy, m.schema)
	}
	e.Text += ", " + strings.Join(who, "; ")
	return e.WithHint("Wait until that is done and migrate again, or end it: %s", strings.Join(end, " "))
}
