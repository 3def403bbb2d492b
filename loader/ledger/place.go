package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// ErrAbsent is the cause of errors which say that there is no schema of this source where it
// should be. Only [Migrate] makes one, and only if it is told to: in place of a schema that vanished, a
// new one would have everything sent again, under new ids.
var ErrAbsent = errors.New("there is no schema of this source")

// absent says what is missing.
type absent string

func (a absent) Error() string        { return string(a) }
func (a absent) Is(target error) bool { return target == ErrAbsent }

// absence says why a schema is none of this source's, with both ways on; nil = it is one, of
// whatever version. hasState tells whether loader_state has its row.
func absence(id Identity, look queries.SchemaFindRow, hasState bool) error {
	e := fault.New(fault.Precondition, "looking into schema %q of database %q", id.Schema, look.Database)
	switch {
	case !look.Present:
		e.Err = absent("it is not there")
	case !look.Ours:
		e.Err = absent("candu-loader's tables are not in it")
	case !look.Usable:
		e.Err = fmt.Errorf("role %q may not use it", look.Role)
		return e.WithHint("As its owner: GRANT USAGE ON SCHEMA %s TO %s; the role must own the tables in it.",
			pgx.Identifier{id.Schema}.Sanitize(), pgx.Identifier{look.Role}.Sanitize())
	case !hasState:
		e.Err = absent("loader_state is empty")
	default:
		return nil
	}
	elsewhere := ""
	if look.Elsewhere != "" {
		elsewhere = " In this database, candu-loader's tables are in: " + look.Elsewhere + "."
	}
	return e.WithHint("If this source is new: candu-loader migrate %s. If it was loaded before, everything would be sent again, under new ids: "+
		"correct warehouse.url or `schema:` in the config, or restore the schema.%s", human.Quote(id.Nickname), elsewhere)
}

// diagnose looks what there is of a schema of which a table, a column or the state's row is
// missing. It returns err if that is a schema of an older version, or if nobody can tell.
func (l *Ledger) diagnose(ctx context.Context, err error) error {
	var look queries.SchemaFindRow
	lookErr := postgres.Read(ctx, l.pool, func(db postgres.DB) (err error) {
		look, err = l.q.SchemaFind(ctx, db, l.id.Schema)
		return err
	})
	if lookErr != nil {
		return err
	}
	hasState := false
	if look.Ours && look.Usable {
		lookErr = postgres.InTx(ctx, l.pool, l.begin, func(tx pgx.Tx) (err error) {
			hasState, err = l.q.StatePresent(ctx, tx)
			return err
		})
	}
	if lookErr != nil {
		return err
	}
	if missing := absence(l.id, look, hasState); missing != nil {
		return missing
	}
	return err
}

// Place is where a schema is.
type Place struct {
	// System is the system identifier of the server, "" if the role may not ask for it. A failover
	// keeps it; pg_upgrade and a restored dump bring another one.
	System string
	// Database is the name of the database.
	Database string
}

func (p Place) String() string {
	if p.System == "" {
		return fmt.Sprintf("database %q", p.Database)
	}
	return fmt.Sprintf("database %q of server %s", p.Database, p.System)
}

// differs reports whether the schema was stored as being elsewhere, as far as both are known.
func (p Place) differs(stored Place) bool {
	return stored.Database != "" && p.Database != stored.Database ||
		stored.System != "" && p.System != "" && p.System != stored.System
}

// here asks a connection where it leads to.
func here(ctx context.Context, pool *pgxpool.Pool) (at Place, err error) {
	err = postgres.Read(ctx, pool, func(db postgres.DB) error {
		look, err := queries.New().PlaceLook(ctx, db)
		at = Place{System: look.System, Database: look.Database}
		return err
	})
	if postgres.Denied(err) {
		err = postgres.Read(ctx, pool, func(db postgres.DB) error {
			at.Database, err = queries.New().PlaceDatabase(ctx, db)
			return err
		})
	}
	return at, err
}

// confirm refuses a schema that seems to be a copy: both it and the original would send under the
// same ids, and Segment would drop whichever comes second.
func (id Identity) confirm(state queries.LoaderState, at Place) error {
	key := KeyHash(state.MessageNamespace, id.WriteKey)
	stored := Place{System: orEmpty(state.PlaceSystem), Database: orEmpty(state.PlaceDatabase)}
	nickname := human.Quote(id.Nickname)
	const copied = "If it is a copy (of production, for staging), give it a write key of its own and: candu-loader migrate %s --new-namespace; " +
		"else both would send under the same ids, and Segment would drop whichever comes second."
	switch moved := at.differs(stored); {
	case id.WriteKey != "" && state.WriteKeyHash != nil && key != *state.WriteKeyHash:
		answer := "--key-rotated"
		e := fault.New(fault.Precondition, "opening schema %q: its events were sent with another write key than the config has", id.Schema)
		if moved {
			answer += " --moved"
			e.Text += fmt.Sprintf(", and it was in %s, and is now in %s", stored, at)
		}
		return e.WithHint(copied+" If the key was rotated: candu-loader migrate %s "+answer, nickname, nickname)
	case moved:
		return fault.New(fault.Precondition, "opening schema %q: it was in %s, and is now in %s", id.Schema, stored, at).
			WithHint("If it moved (an upgrade, another server in place of the old one): candu-loader migrate %s --moved. "+copied, nickname, nickname)
	}
	return nil
}

// admit refuses a schema that is not this source's, or seems to be a copy, and stores what an
// older version did not.
func (l *Ledger) admit(ctx context.Context, tx pgx.Tx, state queries.LoaderState, at Place) error {
	if err := l.verify(state); err != nil {
		return err
	}
	if err := l.id.confirm(state, at); err != nil {
		return err
	}
	var key *string
	if l.id.WriteKey != "" && state.WatermarkAt != nil {
		// A key that no event went with may still be a wrong one.
		key = new(KeyHash(state.MessageNamespace, l.id.WriteKey))
	}
	if state.PlaceDatabase != nil && (state.PlaceSystem != nil || at.System == "") && (state.WriteKeyHash != nil || key == nil) {
		return nil
	}
	return l.q.PlaceFill(ctx, tx, queries.PlaceFillParams{System: orNil(at.System), Database: at.Database, WriteKeyHash: key})
}

// Confirm refuses a schema that a run would refuse: another source's, or one that seems to be a
// copy. It writes nothing.
func (l *Ledger) Confirm(ctx context.Context) error {
	var at Place
	err := l.patiently(ctx, func(ctx context.Context) (err error) {
		if at, err = here(ctx, l.pool); err != nil {
			err = l.explain(err, "asking where schema %q is", l.id.Schema)
		}
		return err
	})
	if err != nil {
		return err
	}
	return l.inTx(ctx, "reading the state", func(tx pgx.Tx) error {
		row, err := l.q.StateGet(ctx, tx)
		if err != nil {
			return err
		}
		if err := l.verify(row.LoaderState); err != nil {
			return err
		}
		return l.id.confirm(row.LoaderState, at)
	})
}
