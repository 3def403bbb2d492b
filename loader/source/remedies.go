package source

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/queries"
)

// relation is a table that rows are in, by its quoted name, and its kind as [Table] has it.
type relation struct{ name, kind string }

// namedTables is how many tables a remedy names.
const namedTables = 5

// Elsewhere is what the export is if its rows are not its own: "view", "foreign table", else "".
func (t *Table) Elsewhere() string {
	return map[string]string{"v": "view", "f": "foreign table"}[t.kind]
}

// rowsIn returns the table that holds the export's rows, and where that is, for people; "" = here.
func (t *Table) rowsIn() (in relation, where string) {
	in = relation{t.Relation(), t.kind}
	switch t.kind {
	case "f":
		return in, "On the server of the foreign table, under its names there: "
	case "v", "m":
		switch {
		case t.holds != nil:
			in = t.holds.relation
		case len(t.behind) == 1:
			in = t.behind[0]
		}
		return in, "On the table behind the view, under its names: "
	}
	return in, ""
}

// onTable is a statement on the table that holds the rows, whose name is the first of its arguments.
func (t *Table) onTable(format string, args ...any) string {
	in, where := t.rowsIn()
	statement := where + fmt.Sprintf(format, append([]any{in.name}, args...)...)
	switch {
	case t.kind == "m":
		statement += " Then, here: REFRESH MATERIALIZED VIEW " + t.Relation() + ";"
	case t.reads != nil && t.reads.kind == "m":
		statement += " Then, here: REFRESH MATERIALIZED VIEW " + t.reads.name + ";"
	}
	return statement
}

// NullStatement returns the statement that gives rows without exported_at one.
func (t *Table) NullStatement() string {
	column := t.sanitized(colExportedAt)
	if t.holds != nil {
		column = t.holds.ordered
	}
	return t.onTable("UPDATE %s SET %[2]s = %[3]s WHERE %[2]s IS NULL;", column, t.local(colExportedAt, "now()"))
}

// EraseStatement returns the statement that takes out of the export who somebody is. The values are those of
// [Table.Identity].
func (t *Table) EraseStatement(column string, values ...string) string {
	var set []string
	for _, i := range []int{colUserID, colAnonymousID} {
		if t.has(i) {
			set = append(set, t.sanitized(i)+" = NULL")
		}
	}
	i := slices.Index(Names[:], column)
	is := t.sanitized(i)
	if oid := t.Columns[i].oid; !slices.Contains(numberTypes, oid) && !slices.Contains(integerTypes, oid) {
		is = "btrim(" + is + "::text)"
	}
	return t.onTable("UPDATE %s SET %s WHERE %s IN (%s);", strings.Join(set, ", "), is, literals(values))
}

// EraseStatement is [Table.EraseStatement] for an export that could not be looked at.
func (s Spec) EraseStatement(column string, values ...string) string {
	quoted := func(canonical string) string { return pgx.Identifier{s.column(canonical)}.Sanitize() }
	return fmt.Sprintf("UPDATE %s SET %s = NULL, %s = NULL WHERE btrim(%s::text) IN (%s);", s.Relation(), quoted(event.UserID), quoted(event.AnonymousID),
		quoted(column), literals(values))
}

// literals returns texts for Postgres.
func literals(texts []string) string {
	var list []string
	for _, text := range texts {
		list = append(list, literal(text))
	}
	return strings.Join(list, ", ")
}

// literal returns a text for Postgres.
func literal(text string) string {
	text = strings.ReplaceAll(text, "'", "''")
	if strings.Contains(text, `\`) {
		return "E'" + strings.ReplaceAll(text, `\`, `\\`) + "'"
	}
	return "'" + text + "'"
}

const (
	behindView = "On the table behind the view, under its names: "
	ownIDs     = "Let ids come from one sequence, or be UUIDs."
)

// UniqueStatement returns what keeps ids unique.
func (t *Table) UniqueStatement() string {
	id, in, where, can := t.sanitized(colID), relation{t.Relation(), t.kind}, "", t.canBeUnique
	if t.kind == "v" {
		if t.reads == nil {
			return "No constraint reaches what the view computes, or takes from several tables. " + ownIDs
		}
		id, in, where, can = t.reads.id, t.reads.relation, behindView, t.reads.canBeUnique
	}
	switch {
	case t.KeyBehind():
		return fmt.Sprintf("In %s an index keeps them unique: let the view give each of its rows once.", in.name)
	case t.virtualID:
		return "Postgres makes no index of a virtual generated column: let it be STORED, or a plain column."
	case in.kind == "m":
		return where + fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s);", in.name, id)
	case in.kind == "f":
		return fmt.Sprintf("On the server of foreign table %s, under its names there: ALTER TABLE %[1]s ADD UNIQUE (%s);", in.name, id)
	case can:
		return where + fmt.Sprintf("ALTER TABLE %s ADD UNIQUE (%s);", in.name, id)
	case in.kind == "p":
		return "No constraint can keep it unique in all partitions: it would have to contain what the table is partitioned by, and reach no foreign table. " + ownIDs
	}
	return "No constraint reaches over a table and those that inherit from it. " + ownIDs
}

// MissingIndex returns what makes the index that pages are read with, "" if it is there.
func (s *Source) MissingIndex(ctx context.Context) (statement string, err error) {
	if t := s.table; t.kind == "v" && t.reads != nil && !t.reads.far {
		if there, err := s.inOrder(ctx); err != nil || there {
			return "", err
		}
	}
	return s.missingIndex(ctx, colExportedAt)
}

// missingIndex returns what makes an index that gives the rows in the order of a column and id, "" if it
// is there.
func (s *Source) missingIndex(ctx context.Context, column int) (statement string, err error) {
	t := s.table
	without, err := s.unindexed(ctx, t.Relation(), t.Columns[column].Name, t.Columns[colID].Name)
	if err != nil || len(without) == 0 {
		return "", err
	}
	reads, _, err := s.behindOf(ctx, t, column)
	switch {
	case err != nil:
		return "", err
	case reads == nil:
		return "No index reaches what the view computes, or takes from several tables: let it take exported_at and id from one, as they are there.", nil
	case reads.virtual:
		return "Postgres makes no index of a virtual generated column: let it be STORED, or a plain column.", nil
	case t.kind != "v":
		return indexStatement(relation{t.Relation(), t.kind}, t.sanitized(column), t.sanitized(colID), without), nil
	}
	unquoted := func(name string) string { return strings.ReplaceAll(name[1:len(name)-1], `""`, `"`) }
	without, err = s.unindexed(ctx, reads.name, unquoted(reads.ordered), unquoted(reads.id))
	if err == nil && len(without) == 0 {
		return reads.name + " has the index, but the view keeps the planner from reading it in order: let it be a plain SELECT.", nil
	}
	if reads.kind == "m" {
		return "On the materialized view behind the view, under its names: " + indexStatement(reads.relation, reads.ordered, reads.id, without), err
	}
	return behindView + indexStatement(reads.relation, reads.ordered, reads.id, without), err
}

func (s *Source) unindexed(ctx context.Context, relation, ordered, id string) ([]queries.ExportUnindexedRow, error) {
	return ask(ctx, s, "looking for indexes", func(ctx context.Context, db queries.DBTX) ([]queries.ExportUnindexedRow, error) {
		return queries.New().ExportUnindexed(ctx, db, queries.ExportUnindexedParams{Relation: relation, Ordered: ordered, ID: id})
	})
}

// indexStatement returns the statements for a relation, of which these parts have none.
func indexStatement(in relation, ordered, id string, without []queries.ExportUnindexedRow) string {
	create := func(in relation) string {
		how := "CONCURRENTLY "
		if in.kind == "p" {
			how = "" // Postgres can't.
		}
		return fmt.Sprintf("CREATE INDEX %sON %s (%s, %s);", how, in.name, ordered, id)
	}
	if in.kind == "f" {
		return "On the server of the foreign table, under its names there: " + create(in)
	}
	var here, far []string
	for _, r := range without {
		switch {
		case r.Relkind == "f":
			far = append(far, r.Name)
		case r.Itself:
			here = append(here, create(relation{in.name, r.Relkind}))
		default:
			here = append(here, create(relation{r.Name, r.Relkind}))
		}
	}
	switch {
	case len(here) == 0 && len(far) > 0:
		return fmt.Sprintf("On the server of foreign table %s, under its names there: %s", far[0], create(relation{far[0], "r"}))
	case in.kind == "p":
		return create(in)
	}
	if more := len(here) - namedTables; more > 0 {
		here = append(here[:namedTables], fmt.Sprintf("And so on for %d more tables.", more))
	}
	return strings.Join(here, "\n")
}
