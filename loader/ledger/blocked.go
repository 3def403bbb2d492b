package ledger

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/queries"
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
	e := &fault.Error{Kind: fault.Failed, Text: fmt.Sprintf("migrating schema %q: its tables were locked for %s", m.id.Schema, human.Duration(m.waited)), Err: err}
	return holding(ctx, m.pool, m.schema, e)
}

// holding adds to an error who holds locks on what is in a schema, whose name is quoted.
func holding(ctx context.Context, db queries.DBTX, schema string, e *fault.Error) error {
	holders, err := queries.New().LockHolders(ctx, db, schema)
	if err != nil || len(holders) == 0 {
		return e.WithHint("Another session holds a lock. Find it, and end it or wait for it: "+lockedBy, schema)
	}
	var who, end []string
	for _, h := range holders {
		since := ""
		if h.Since != nil {
			since = ", since " + human.Exact(*h.Since)
		}
		who = append(who, fmt.Sprintf("%q by pid %d, role %q, application %q%s, %s", h.Relation, h.Pid, h.Role, h.Application, since, cmp.Or(h.State, "state unknown")))
		end = append(end, fmt.Sprintf("SELECT pg_terminate_backend(%d);", h.Pid))
	}
	e.Text += ", locks are held on " + strings.Join(who, "; on ")
	return e.WithHint("Wait until that is done and try again, or end it: %s", strings.Join(end, " "))
}
