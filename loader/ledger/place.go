package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
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
		elsewhere = "; candu-loader's tables are in " + look.Elsewhere
	}
	return e.WithHint("If this source is new: candu-loader migrate %s. If it was loaded before, everything would be sent again, under new ids: "+
		"look at warehouse.url and `schema:`%s, or restore the schema.", human.Quote(id.Nickname), elsewhere)
}

// diagnose looks what there is of a schema of which a table, a column or the state's row is
// missing. It returns err if that is a schema of an older version, or if nobody can tell.
func (l *Ledger) diagnose(ctx context.Context, err error) error {
	look, lookErr := l.q.SchemaFind(ctx, l.pool, l.id.Schema)
	if lookErr != nil {
		return err
	}
	hasState := false
	if look.Ours && look.Usable {
		lookErr = pgx.BeginTxFunc(ctx, l.pool, pgx.TxOptions{BeginQuery: l.begin}, func(tx pgx.Tx) (err error) {
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
