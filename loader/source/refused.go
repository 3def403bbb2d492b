package source

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/queries"
)

// ErrRowSecurity is the cause of an error about policies that may hide rows of the export. Whether they
// do, nobody can tell.
var ErrRowSecurity = errors.New("row-level security may hide rows")

// ErrFunctionPath is the cause of an error about a function behind the export that relies on the
// search_path of whoever reads.
var ErrFunctionPath = errors.New("relies on the session's search_path")

// advise gives an error that the catalog can say more about its remedy.
func (s *Source) advise(ctx context.Context, e *fault.Error) error {
	err := e.Err
	switch {
	case postgres.RowSecurity(err):
		e.Kind, e.Err = fault.Precondition, fmt.Errorf("%w: %w", ErrRowSecurity, err)
		e.Hint = "As a superuser:  ALTER ROLE " + pgx.Identifier{s.reader.Role()}.Sanitize() + " BYPASSRLS;"
		_ = s.reader.Read(ctx, func(db postgres.DB) error { // Without an answer that is what there is to say.
			found, err := queries.New().ExportPolicies(ctx, db, s.config.Spec.Relation())
			if err == nil && len(found) > 0 {
				e.Hint = policyHint(s.config.Spec, s.reader.Role(), found[0])
			}
			return err
		})
	case postgres.UnknownInFunction(err):
		e.Kind, e.Err = fault.Precondition, fmt.Errorf("a function behind it %w: %w", ErrFunctionPath, err)
		e.Hint = "ALTER FUNCTION ... SET search_path = ..., for the function of which Postgres says:  " + postgres.Context(err)
		_ = s.reader.Read(ctx, func(db postgres.DB) error { // As above.
			found, lookErr := queries.New().ExportFunction(ctx, db, postgres.Context(err))
			if lookErr == nil && len(found) > 0 {
				e.Err = fmt.Errorf("function %s %w: %w", found[0].Signature, ErrFunctionPath, err)
				e.Hint = functionHint(found[0].Signature, found[0].Schema, s.config.SearchPath)
			}
			return lookErr
		})
	}
	return e
}

// refused refuses an export that gives only some of its rows, without a word, by what is behind it.
func (t *Table) refused(origins []queries.ExportOriginsRow) error {
	if len(origins) == 0 {
		return nil
	}
	switch o := origins[0]; o.What {
	case "row security":
		e := fault.New(fault.Precondition, "reading table %s: function %s sets row_security = on, so that policies hide rows from it in silence", t.Relation(), o.Name)
		e.Err = ErrRowSecurity
		return e.WithHint("ALTER FUNCTION %s RESET row_security;  and see whether the export can still be read.", o.Name)
	case "sample":
		return fault.New(fault.Precondition, "reading table %s: %s reads a sample of its rows (TABLESAMPLE), so that others are never read", t.Relation(), o.Name).
			WithHint("Leave TABLESAMPLE out of the view.")
	}
	return nil
}

// policyHint says how all rows become visible. The statements are for Postgres as they are.
func policyHint(spec Spec, role string, p queries.ExportPoliciesRow) string {
	quoted := func(name string) string { return pgx.Identifier{name}.Sanitize() }
	bypass := "ALTER ROLE " + quoted(p.Reader) + " BYPASSRLS;"
	if p.Forced {
		return "As a superuser:  " + bypass + "  A view of the owner's is no way: the policies of " + p.Relation + " are forced upon the owner too."
	}
	owner := quoted(p.Owner)
	switch {
	case p.View == "":
		view := pgx.Identifier{spec.Schema, cut(spec.Table, 50) + "_for_candu"}
		return fmt.Sprintf("Read a view that belongs to the table's owner:  CREATE VIEW %[1]s AS SELECT * FROM %[2]s; ALTER VIEW %[1]s OWNER TO %[3]s; "+
			"GRANT SELECT ON %[1]s TO %[4]s;  and in the config `table: %[5]s`. Or, as a superuser:  %[6]s",
			view.Sanitize(), p.Relation, owner, quoted(role), strings.Join(view, "."), bypass)
	case p.Invoker:
		return fmt.Sprintf("Let the view read with the rights of the table's owner:  ALTER VIEW %[1]s SET (security_invoker = false); ALTER VIEW %[1]s OWNER TO %[2]s; "+
			"GRANT SELECT ON %[1]s TO %[3]s;  Or, as a superuser:  %[4]s", p.View, owner, quoted(role), bypass)
	default:
		return fmt.Sprintf("Let the view belong to the table's owner:  ALTER VIEW %[1]s OWNER TO %[2]s; GRANT SELECT ON %[1]s TO %[3]s;  "+
			"Or, as a superuser:  %[4]s", p.View, owner, quoted(role), bypass)
	}
}

// functionHint says how a function finds what it names.
func functionHint(signature, schema string, path []string) string {
	schemas := []string{schema}
	if schema != "public" {
		schemas = append(schemas, "public")
	}
	hint := fmt.Sprintf("ALTER FUNCTION %s SET search_path = %s;  with the schemas of what its body names.", signature, postgres.Path(schemas...))
	if len(path) == 0 {
		hint += " Who can't alter it writes in the config, under interactions:  search_path: [" + strings.Join(schemas, ", ") + "]"
	}
	return hint
}

func cut(text string, most int) string { return strings.ToValidUTF8(text[:min(len(text), most)], "") }
