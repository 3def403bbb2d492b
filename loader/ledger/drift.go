package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// Difference is something in the schema that is not as the migrations make it.
type Difference struct {
	// Text says what it is, with the object's name.
	Text string
	// Remedy is the statement that mends it, and who is to run it.
	Remedy string
	// Breaks is true if rows can't be recorded, or not all, and false if that is as may be: a trigger
	// may refuse rows.
	Breaks bool
	// Readers is true if only readers miss something; Ours if a migration gives it back.
	Readers, Ours bool
}

// Differences compares the schema, and what the loader's role may do in it, with what the
// migrations make. What harms nothing is none: plain indexes, further columns that take NULL,
// comments, other tables and views. A schema of another version is not compared.
func (l *Ledger) Differences(ctx context.Context) (found []Difference, err error) {
	err = l.patiently(ctx, func(ctx context.Context) (err error) {
		found, err = l.differences(ctx)
		return err
	})
	return found, err
}

func (l *Ledger) differences(ctx context.Context) (found []Difference, err error) {
	err = postgres.InTx(ctx, l.pool, l.begin, func(tx pgx.Tx) error {
		facts, err := l.facts(ctx, tx)
		if err != nil || len(facts) == 0 {
			return err
		}
		s := shapeOf(facts)
		// Without these two nothing more can be asked, or need be.
		if asks := len(s.of(versionTable, "relation")) > 0 && !s.of("", "schema")[0].Strict &&
			named(s.of(versionTable, "denied"), "SELECT") == nil; asks {
			version, err := l.q.DriftVersion(ctx, tx)
			if err != nil || version.Dirty || int(version.Version) != Latest() {
				return err
			}
		} else if len(s) == 1 {
			return nil // An empty schema.
		}
		found = l.compare(facts)
		return nil
	})
	if err != nil {
		return nil, l.explain(err, "comparing schema %q with what candu-loader makes", l.id.Schema)
	}
	return found, nil
}

func (l *Ledger) facts(ctx context.Context, tx pgx.Tx) ([]fact, error) {
	return l.q.DriftFacts(ctx, tx, factsOf(l.id))
}

func factsOf(id Identity) queries.DriftFactsParams {
	return queries.DriftFactsParams{
		Schema: id.Schema, Relations: made.relations(), Readers: sortedReaders(id.Readers), Readable: readable,
	}
}

// compare makes differences of facts about a schema of the latest version.
func (l *Ledger) compare(facts []fact) []Difference {
	d := &drift{schema: l.id.Schema, now: shapeOf(facts)}
	found := d.usage()
	if len(found) > 0 {
		return found
	}
	for _, relation := range made.relations() {
		found = append(found, d.relation(relation)...)
	}
	found = append(found, d.readers()...)
	// What breaks is said first.
	slices.SortStableFunc(found, func(a, b Difference) int {
		return cmp.Compare(rank(a), rank(b))
	})
	return found
}

func rank(d Difference) int {
	switch {
	case d.Breaks:
		return 0
	case !d.Readers:
		return 1
	}
	return 2
}

// differs makes an error of differences that break recording, nil if none does. cause is what went
// wrong, nil if nothing did yet.
func (l *Ledger) differs(found []Difference, cause error) error {
	breaks := slices.DeleteFunc(slices.Clone(found), func(d Difference) bool { return !d.Breaks })
	if len(breaks) == 0 {
		return nil
	}
	text := fmt.Sprintf("schema %q is not as candu-loader makes it: %s", l.id.Schema, breaks[0].Text)
	if more := len(breaks) - 1; more > 0 {
		text += " (and " + human.Count(int64(more), "more difference") + ")"
	}
	e := &fault.Error{Kind: fault.Precondition, Text: text, Err: cause}
	return e.WithHint("%s", remedies(breaks))
}

// settledShape refuses to begin with differences that break recording. Where readers lost their
// rights, and we can give them back, a migration does.
func (l *Ledger) settledShape(found []Difference) error {
	if err := l.differs(found, nil); err != nil {
		return err
	}
	for _, d := range found {
		if d.Readers && d.Ours {
			return notMigrated(fmt.Sprintf("schema %q: %s", l.id.Schema, d.Text), nil)
		}
	}
	return nil
}

// remedies are the statements, each once.
func remedies(found []Difference) string {
	var all []string
	for _, d := range found {
		if !slices.Contains(all, d.Remedy) {
			all = append(all, d.Remedy)
		}
	}
	return strings.Join(all, " ")
}

// because returns the difference that explains an error, or the error itself if there is none.
func (l *Ledger) because(ctx context.Context, err error) error {
	found, lookErr := l.Differences(ctx)
	if lookErr != nil {
		return err // It says more.
	}
	// What the database said, without the advice to migrate, which would change nothing.
	var cause error
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		cause = pg
	}
	return cmp.Or(l.differs(found, cause), err)
}

// Explain adds to an error of recording what differs in the schema by now, if anything does.
func (r *Run) Explain(ctx context.Context, err error) error {
	switch fault.KindOf(err) {
	case fault.Busy, fault.Interrupted, fault.Retryable, fault.Config:
		return err
	case fault.Failed, fault.Precondition, fault.Difference:
	}
	if postgres.Full(err) {
		return err
	}
	found, lookErr := r.ledger.Differences(ctx)
	found = slices.DeleteFunc(found, func(d Difference) bool { return d.Readers })
	if lookErr != nil || len(found) == 0 {
		return err
	}
	if worse := r.ledger.differs(found, err); worse != nil {
		return worse
	}
	// A trigger is to blame for what a trigger may say.
	if !postgres.OfData(err) && !postgres.Denied(err) {
		return err
	}
	e := &fault.Error{Kind: fault.Precondition, Text: "recording where " + found[0].Text, Err: err}
	return e.WithHint("%s", remedies(found))
}
