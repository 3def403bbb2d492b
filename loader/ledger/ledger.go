// Package ledger keeps a source's schema: the mirror of what Segment accepted,
// the watermark, the runs, the rejects, and the lease that lets one loader at a
// time record. It is the only package that writes to Postgres.
//
// Every statement runs in a transaction that begins by choosing the schema, and
// nothing is kept in a session, so that a transaction-pooling PgBouncer may
// stand in between.
package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/queries"
)

// Identity says whose schema it is.
type Identity struct {
	// Nickname of the source in Segment.
	Nickname string
	// Schema is the name of the schema, unquoted.
	Schema string
	// Namespace of the messageIds from the config; uuid.Nil = keep what is
	// stored, or make one.
	Namespace uuid.UUID
	// WriteKey of the source, "" if it is not to be compared with the one that was used before.
	WriteKey secret.String
	// Readers are the roles that may read the mirror.
	Readers []string
}

// Ledger works on one source's schema. It is safe for concurrent use.
type Ledger struct {
	pool *pgxpool.Pool
	id   Identity
	// begin is what transactions begin with, behind what the connection needs; record is that of those that
	// write, locked of those that record pages, ask of those that look for delivered ids.
	begin, record, locked, ask string
	q                          *queries.Queries
	// again is told what is waited out, nil if nothing is.
	again func(err error, wait time.Duration)
	// tell is told what a transaction that takes long waits for, nil if nobody is.
	tell func(doing, waits, remedy string)
	// session is what transactions are called in pg_stat_activity, "" if they have no name of their own.
	session string
}

// readLimit bounds one try to read.
const readLimit = 30 * time.Minute

// Patient is the ledger for those who read and don't try again themselves: what passes, a restart of the
// server, is waited out, and again is told.
func (l *Ledger) Patient(again func(err error, wait time.Duration)) *Ledger {
	p := *l
	p.again = again
	return &p
}

// A loader that was stopped in the middle of a transaction must not hold up the one
// that takes over when the lease runs out. idleTimeout ends a transaction that waits for
// its next statement, statementTimeout one that waits for the rest of a statement, of which
// a COPY is a long one: there the first does not count.
const (
	idleTimeout      = "10s"
	statementTimeout = "45s"
)

// lockState locks the row that all who record lock first.
const lockState = "; select from loader_state for update"

// New returns the ledger of a schema. It does not connect.
func New(pool *pgxpool.Pool, id Identity) *Ledger {
	// The path is exactly one schema: with a second one, a missing table would be looked for in the
	// wrong place.
	begin := "; set local search_path to " + postgres.Path(id.Schema)
	writing := begin + "; set local idle_in_transaction_session_timeout to '" + idleTimeout + "'; set local statement_timeout to '" + statementTimeout + "'"
	return &Ledger{
		pool:   pool,
		id:     id,
		begin:  begin,
		record: writing,
		// All who record, runs and backfills, lock this row first: so what one of them reads in
		// that transaction (is the row in the mirror? is there a reject?) stays true until it commits.
		locked: writing + lockState,
		// Of tables that were filled just now, and neither vacuumed nor analyzed since, Postgres
		// would rather fetch and sort the rows than read their ids off the index in order:
		// twice the time.
		// An answer that is noted (see Answers) need not wait for the disk: if it gets lost, what was
		// recorded upon it gets lost too, for that is committed later.
		ask: begin + "; set local enable_bitmapscan to off; set local synchronous_commit to off",
		q:   queries.New(),
	}
}

// writing is the ledger for transactions that hold rows: a loader that is stopped in one of them
// lets them go.
func (l *Ledger) writing() *Ledger {
	w := *l
	w.begin, w.again = l.record, nil // Whether it may be repeated, those know who write.
	return &w
}

// named is the ledger of a run's holder. Its transactions carry the holder's name, so that who takes
// over finds what is left of them, through a pooler too.
func (l *Ledger) named(holder string) *Ledger {
	n := *l
	n.session = sessionName(holder)
	name := "; set local application_name to " + quoteText(n.session)
	n.begin, n.record, n.ask = l.begin+name, l.record+name, l.ask+name
	// Before it waits for the row.
	n.locked = l.record + name + lockState
	return &n
}

// sessionName is what the sessions of a holder are called in pg_stat_activity.
func sessionName(holder string) string { return "candu-loader " + holder }

// quoteText returns a literal that means the same whatever standard_conforming_strings is.
func quoteText(text string) string {
	return "E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(text) + "'"
}

// Schema returns the schema's name.
func (l *Ledger) Schema() string { return l.id.Schema }

// inTx runs fn in a transaction that sees the schema's tables by their plain names; the error
// names what was being done. Of a schema that is not there it has [ErrAbsent] as its cause, of
// one of an older version [ErrNotMigrated]. fn must not keep tx.
func (l *Ledger) inTx(ctx context.Context, doing string, fn func(tx pgx.Tx) error) error {
	return l.patiently(ctx, func(ctx context.Context) error { return l.once(ctx, doing, fn) })
}

// patiently waits out what passes, if the ledger is [Ledger.Patient]. step may be repeated.
func (l *Ledger) patiently(ctx context.Context, step func(ctx context.Context) error) error {
	if l.again == nil {
		return step(ctx)
	}
	return postgres.Retry(ctx, readLimit, l.again, step)
}

// once is inTx without another try.
func (l *Ledger) once(ctx context.Context, doing string, fn func(tx pgx.Tx) error) error {
	err := l.watched(ctx, doing, l.begin, false, fn)
	if err == nil {
		return nil
	}
	err = l.explain(err, "%s of schema %q", doing, l.id.Schema)
	if errors.Is(err, ErrNotMigrated) {
		err = l.diagnose(ctx, err)
	}
	if errors.Is(err, ErrNotMigrated) || postgres.Denied(err) {
		err = l.because(ctx, err)
	}
	if e, ok := errors.AsType[*fault.Error](err); ok && postgres.Locked(err) && ctx.Err() == nil {
		err = holding(ctx, l.pool, pgx.Identifier{l.id.Schema}.Sanitize(), e)
	}
	return err
}

// ask runs one query in a transaction of its own.
func ask[P, T any](ctx context.Context, l *Ledger, doing string, query func(context.Context, queries.DBTX, P) (T, error), params P) (answer T, err error) {
	err = l.inTx(ctx, doing, func(tx pgx.Tx) (err error) {
		answer, err = query(ctx, tx, params)
		return err
	})
	return answer, err
}

// plain makes a query of one that has no parameters.
func plain[T any](query func(context.Context, queries.DBTX) (T, error)) func(context.Context, queries.DBTX, struct{}) (T, error) {
	return func(ctx context.Context, db queries.DBTX, _ struct{}) (T, error) { return query(ctx, db) }
}

// each converts what a query returned. It is never nil, for machines: none is an empty list.
func each[A, B any](rows []A, convert func(A) B) []B {
	out := make([]B, len(rows))
	for i, row := range rows {
		out[i] = convert(row)
	}
	return out
}

// State is what the schema knows about itself.
type State struct {
	// Nickname is of the source that the schema is for.
	Nickname string
	// MessageNamespace is that of the messageIds.
	MessageNamespace uuid.UUID
	// StartAt is where the first run began; nil = the beginning.
	StartAt *time.Time
	// WatermarkAt and WatermarkID are the watermark: every row at or below it is mirrored or
	// rejected. nil = nothing yet; without an id it stands before every id of that moment.
	WatermarkAt *time.Time
	WatermarkID *string
	// NamespaceSince and NamespaceSinceID are the watermark as this schema, a copy of another one, got
	// a namespace of its own, or less if the export's clock was put back since: what the export has
	// up to there is the other one's to send. nil = there is no such place.
	NamespaceSince   *time.Time
	NamespaceSinceID *string
	// Originals are the namespaces that a copy had before its own: what the mirror has under ids of theirs
	// was sent by the schemas that it is a copy of.
	Originals []uuid.UUID
	// Configs are the configurations of the last runs.
	Configs Configs
	// Export is what the watermark is about, as far as it is known.
	Export Export
	// KeyStored is true if it is known with which write key the events went out.
	KeyStored bool
	// CaughtUpAt is when a run last came to the end of what it could see in the export, by the
	// warehouse's clock; lag counts from there.
	CaughtUpAt *time.Time
	// CompleteUntil is up to where the mirror is complete as far as can be known; HeldBack is
	// why that lies well before CaughtUpAt, "" if it does not.
	CompleteUntil *time.Time
	HeldBack      string
	// Unrecorded is the end of the pages that a run sent and could not record; nil = none, or
	// they were recorded since.
	Unrecorded *Watermark
	// SlotsSince is from when on slots are accounted for; nil = serve never ran.
	SlotsSince *time.Time
	// Alerts is what serve has announced.
	Alerts []byte
	// Proof is what verifications found; ProofEpoch changes when that is forgotten.
	Proof      Proof
	ProofEpoch int64
	// Forgotten are the people whose rows are not sent, nil if nobody was forgotten; ForgottenSalt is by what
	// they are hashed.
	Forgotten     *event.ForgottenPeople
	ForgottenSalt []byte
	// Clock is the warehouse's, as the state was read: ages are counted by it.
	Clock time.Time
	// Version is the number of the last migration.
	Version int
}

func stateOf(s queries.LoaderState, version int64) State {
	var unrecorded *Watermark
	if s.UnrecordedAt != nil {
		unrecorded = &Watermark{At: *s.UnrecordedAt, ID: s.UnrecordedID}
	}
	return State{
		Nickname: s.Nickname, MessageNamespace: s.MessageNamespace, StartAt: s.StartAt, WatermarkAt: s.WatermarkAt, WatermarkID: s.WatermarkID,
		NamespaceSince: s.NamespaceSince, NamespaceSinceID: s.NamespaceSinceID, Originals: s.OriginalNamespaces,
		KeyStored: s.WriteKeyHash != nil, Export: exportOf(s), Configs: configsOf(s),
		CaughtUpAt: s.CaughtUpAt, CompleteUntil: s.CompleteUntil, HeldBack: orEmpty(s.HeldBackBy), Unrecorded: unrecorded, SlotsSince: s.SlotsSince, Alerts: s.Alerts, ForgottenSalt: s.ForgottenSalt, Version: int(version),
		Proof: proofOf(s.Proof), ProofEpoch: s.ProofEpoch,
	}
}

// State reads where the source stands. A schema that is not there, or of an older version, is a
// [fault.Precondition] with the cause [ErrAbsent] or [ErrNotMigrated].
func (l *Ledger) State(ctx context.Context) (State, error) {
	row, err := ask(ctx, l, "reading the state", plain(l.q.StateGet), struct{}{})
	if errors.Is(err, ErrNotMigrated) {
		// What the database says of its missing tables tells an operator nothing.
		err = notMigrated(fmt.Sprintf("reading the state of schema %q", l.id.Schema), nil)
	}
	if err != nil {
		return State{}, err
	}
	state := stateOf(row.LoaderState, row.SchemaVersion)
	state.Clock = row.Clock
	if state.ForgottenSalt != nil {
		state.Forgotten, err = ask(ctx, l, "looking who was forgotten", l.forgotten, struct{}{})
	}
	return state, cmp.Or(err, l.verify(row.LoaderState))
}

// forgotten returns the people who were forgotten, nil if nobody was.
func (l *Ledger) forgotten(ctx context.Context, db queries.DBTX, _ struct{}) (*event.ForgottenPeople, error) {
	rows, err := l.q.ForgottenAll(ctx, db)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return event.NewForgottenPeople(rows[0].ForgottenSalt, each(rows, func(r queries.ForgottenAllRow) []byte { return r.Hash })), nil
}

// ErrNotMigrated is the cause of errors which say that the schema is there, but not as this
// candu-loader makes it.
var ErrNotMigrated = errors.New("it is of an older version")

// notMigrated is a precondition with the remedy; cause is what the database said, nil if it
// was not asked.
func notMigrated(text string, cause error) error {
	e := fault.New(fault.Precondition, "%s", text).WithHint("Run `candu-loader migrate` first; `candu-loader run` does it too.")
	if e.Err = ErrNotMigrated; cause != nil {
		e.Err = fmt.Errorf("%w: %w", ErrNotMigrated, cause)
	}
	return e
}

// explain gives an error of the database its kind, and the remedy where the
// cause is known.
func (l *Ledger) explain(err error, format string, args ...any) error {
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known // It says what is wrong, whatever was being done.
	}
	text := fmt.Sprintf(format, args...)
	switch {
	case postgres.Missing(err) || postgres.MissingColumn(err) || errors.Is(err, pgx.ErrNoRows):
		// A column is missing from a schema that an older candu-loader made.
		return notMigrated(text, err)
	case postgres.Full(err):
		e := &fault.Error{Kind: postgres.KindOf(err), Text: text, Err: err}
		return e.WithHint("The warehouse's disk is full. Make room there, then run again: the next run goes on where this one stopped.")
	case postgres.Locked(err):
		e := &fault.Error{Kind: postgres.KindOf(err), Text: text, Err: err}
		return e.WithHint("Another session holds a lock. Find it, and end it or wait for it: "+lockedBy, pgx.Identifier{l.id.Schema}.Sanitize())
	case postgres.Denied(err):
		e := &fault.Error{Kind: postgres.KindOf(err), Text: text, Err: err}
		return e.WithHint("The loader's role lacks a right in schema %s, or a trigger there refuses it: `candu-loader check` looks.",
			pgx.Identifier{l.id.Schema}.Sanitize())
	}
	hint := postgres.Hint(err)
	if w, ok := errors.AsType[*waited](err); ok {
		hint = w.remedy
	}
	return &fault.Error{Kind: postgres.KindOf(err), Text: text, Err: postgres.Detailed(err), Hint: hint}
}

// verify refuses a schema of another source, and a namespace that would give
// every event a new messageId.
func (l *Ledger) verify(state queries.LoaderState) error {
	if state.Nickname != l.id.Nickname {
		return fault.New(fault.Precondition, "schema %q holds source %q, not %q", l.id.Schema, state.Nickname, l.id.Nickname).
			WithHint("Give this source a schema of its own in the config: `schema: <name>`.")
	}
	if l.id.Namespace != uuid.Nil && l.id.Namespace != state.MessageNamespace {
		return fault.New(fault.Config, "message_namespace %q differs from the one that schema %q was made with, %q",
			l.id.Namespace, l.id.Schema, state.MessageNamespace).
			WithHint("With another namespace every event would be sent again under a new id. Write `message_namespace: %s`, or leave the key out.",
				state.MessageNamespace)
	}
	return nil
}
