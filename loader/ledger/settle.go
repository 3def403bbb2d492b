package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/queries"
)

// settle writes the source's row, what the operator answered, and the readers' grants. It returns
// what became of the answers.
func (m *migrator) settle(ctx context.Context, opts MigrateOptions) (answers []string, err error) {
	l := &Ledger{id: m.id, q: m.q}
	at, err := here(ctx, m.pool)
	if err != nil {
		return nil, m.explain(err, "asking where schema %q is", m.id.Schema)
	}
	err = m.locked(ctx, func(tx pgx.Tx) (err error) {
		if err := m.q.CommitDurably(ctx, tx); err != nil {
			return err
		}
		namespace := m.id.Namespace
		if namespace == uuid.Nil {
			namespace = uuid.New()
		}
		if err := m.q.StateCreate(ctx, tx, queries.StateCreateParams{Nickname: m.id.Nickname, MessageNamespace: namespace}); err != nil {
			return err
		}
		if answers, err = m.answer(ctx, tx, opts, at); err != nil {
			return err
		}
		row, err := m.q.StateGet(ctx, tx)
		if err != nil {
			return err
		}
		if err := l.admit(ctx, tx, row.LoaderState, at); err != nil {
			return err
		}
		// A role that was dropped has no rights left, and can't lose them.
		dropped, err := m.q.RolesMissing(ctx, tx, row.LoaderState.Readers)
		if err != nil {
			return err
		}
		before := slices.DeleteFunc(row.LoaderState.Readers, func(role string) bool { return slices.Contains(dropped, role) })
		for _, statement := range append(m.revokes(before), m.grants()...) {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return m.q.ReadersSet(ctx, tx, sortedReaders(m.id.Readers))
	})
	if err != nil {
		return nil, m.explain(err, "finishing the migration of schema %q", m.id.Schema)
	}
	return answers, nil
}

// answer stores what the operator says of a schema that a run refused. It returns a sentence for each
// answer: what was stored, or why there was nothing to answer.
func (m *migrator) answer(ctx context.Context, tx pgx.Tx, opts MigrateOptions, at Place) (told []string, err error) {
	if !opts.NewNamespace && !opts.KeyRotated && !opts.Moved && !opts.SetStart {
		return nil, nil
	}
	row, err := m.q.StateGet(ctx, tx)
	if err != nil {
		return nil, err
	}
	state := row.LoaderState
	if state.Nickname != m.id.Nickname {
		return nil, nil // Which is refused right after.
	}
	namespace := state.MessageNamespace
	if opts.NewNamespace && m.id.confirm(state, at) == nil && state.WriteKeyHash != nil {
		// Rows that are read again would go out once more, under other ids.
		return nil, fault.New(fault.Precondition, "giving schema %q a new namespace: it is no copy, as far as can be known: write key and place are those that its events were sent with", m.id.Schema).
			WithHint("Leave out --new-namespace. If this is the copy after all, give it the write key of its own Segment source first.")
	}
	if opts.SetStart {
		if err := m.id.alone(ctx, m.q, tx); err != nil {
			return nil, err
		}
		if err := m.q.StartSet(ctx, tx, opts.StartAt); err != nil {
			return nil, err
		}
		told = append(told, begins(state, opts.StartAt))
	}
	if opts.NewNamespace {
		if namespace, err = m.newNamespace(ctx, tx, state); err != nil {
			return nil, err
		}
		told = append(told, inherits(state, namespace))
	}
	if opts.KeyRotated {
		told = append(told, rotated(state, KeyHash(namespace, m.id.WriteKey)))
	}
	if opts.Moved {
		told = append(told, moved(state, at))
	}
	if (opts.KeyRotated || opts.NewNamespace) && m.id.WriteKey != "" {
		if err := m.q.WriteKeySet(ctx, tx, KeyHash(namespace, m.id.WriteKey)); err != nil {
			return nil, err
		}
	}
	if opts.Moved || opts.NewNamespace {
		err = m.q.PlaceSet(ctx, tx, queries.PlaceSetParams{System: orNil(at.System), Database: at.Database})
	}
	return told, err
}

// inherits says what --new-namespace did.
func inherits(state queries.LoaderState, namespace uuid.UUID) string {
	told := fmt.Sprintf("--new-namespace: events go out under namespace %s from now on, instead of %s", namespace, state.MessageNamespace)
	if state.WatermarkAt == nil {
		return told + "; nothing was loaded before"
	}
	return told + "; rows exported until the watermark " + human.Exact(*state.WatermarkAt) + " are left to the schema of which this one is a copy"
}

// rotated says what --key-rotated did.
func rotated(state queries.LoaderState, key string) string {
	switch {
	case state.WriteKeyHash == nil:
		return "--key-rotated: no write key was known; the one in the config is from now on"
	case *state.WriteKeyHash == key:
		return "--key-rotated: nothing to answer, the write key in the config is the one that events were sent with"
	}
	return "--key-rotated: events go out with the write key in the config from now on"
}

// begins says what --start-at did.
func begins(state queries.LoaderState, at *time.Time) string {
	start := "the beginning of the export"
	if at != nil {
		start = human.Exact(*at)
	}
	if state.StartAt == nil && state.WatermarkAt == nil {
		return "--start-at: nothing to change, the first run begins at " + start
	}
	return "--start-at: the source begins at " + start + " from now on"
}

// moved says what --moved did.
func moved(state queries.LoaderState, at Place) string {
	stored := Place{System: orEmpty(state.PlaceSystem), Database: orEmpty(state.PlaceDatabase)}
	switch {
	case stored.Database == "":
		return fmt.Sprintf("--moved: no place was known; it is %s from now on", at)
	case !at.differs(stored):
		return fmt.Sprintf("--moved: nothing to answer, the schema is where it was, in %s", at)
	}
	return fmt.Sprintf("--moved: the schema is known in %s from now on, instead of %s", at, stored)
}

// newNamespace gives a copy a namespace of its own, while nobody works on it.
func (m *migrator) newNamespace(ctx context.Context, tx pgx.Tx, state queries.LoaderState) (uuid.UUID, error) {
	namespace := m.id.Namespace
	switch namespace {
	case state.MessageNamespace:
		return namespace, fault.New(fault.Config, "giving schema %q a new namespace: the config has the one that it has, message_namespace %q", m.id.Schema, namespace).
			WithHint("Take message_namespace out of the config, or write another one.")
	case uuid.Nil:
		namespace = uuid.New()
	}
	if err := m.id.alone(ctx, m.q, tx); err != nil {
		return namespace, err
	}
	return namespace, m.q.NamespaceSet(ctx, tx, namespace)
}

// alone refuses to change what a run has read while one is under way, and keeps others from
// beginning until the transaction ends.
func (id Identity) alone(ctx context.Context, q *queries.Queries, tx pgx.Tx) error {
	if err := q.LeasesLock(ctx, tx); err != nil {
		return err
	}
	holders, err := q.LeaseHolder(ctx, tx)
	if err == nil && len(holders) > 0 {
		return fault.New(fault.Busy, "changing the state of schema %q: %s works on it", id.Schema, holders[0]).
			WithHint("Wait for that loader to end. If it died, or its lease was copied with the schema, that runs out within %s.", LeaseTTL)
	}
	return err
}
