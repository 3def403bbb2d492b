package source

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/queries"
)

// The canonical columns, in the order in which they are selected.
const (
	colID = iota
	colExportedAt
	colOccurredAt
	colKind
	colUserID
	colAnonymousID
	colTutorialID
	colSegmentID
	colPortalID
	colVersionID
	colEventName
	numColumns

	// The first ones are a row's place in the order, and what its messageId is made of.
	numKeys = colOccurredAt + 1
)

// Names are the canonical columns' names, in the order in which they are selected.
var Names = [numColumns]string{
	"id", "exported_at", "occurred_at", "kind", "user_id", "anonymous_id",
	"tutorial_id", "segment_id", "portal_id", "version_id", "event_name",
}

// Spec says which relation holds the interactions and how its columns are called.
type Spec struct {
	Schema, Table string
	// Columns maps canonical names to the table's; a missing one is called as
	// the canonical one.
	Columns map[string]string
	// ByEventName leaves the column kind aside, if there is one: then a row without an event
	// name is a view.
	ByEventName bool
	// Zone is that of times without one, as the tz database names it; "" = UTC.
	Zone string
}

// Relation returns the quoted name of the relation.
func (s Spec) Relation() string { return pgx.Identifier{s.Schema, s.Table}.Sanitize() }

func (s Spec) column(canonical string) string { return cmp.Or(s.Columns[canonical], canonical) }

// Column is a column of the export as the catalog describes it.
type Column struct {
	// Name is the table's name for it.
	Name string
	// Type is the type's name for people.
	Type string

	oid uint32 // of the base type
}

// Table is an export that has been looked at: it is there, readable, and its
// columns have types that serve.
type Table struct {
	Spec
	Columns [numColumns]Column
	// HasKind is false where the column kind is left aside: then a row without an event name
	// is a view.
	HasKind bool
	// UniqueID is true if an index guarantees that ids are unique.
	UniqueID bool
	// kind is the catalog's: r is a table, p one in partitions, v a view, m a materialized one, f a
	// foreign table.
	kind string
	// nullID is true if id may be NULL. Such a row is not read.
	nullID bool
	// canBeUnique is true if a constraint can keep ids unique.
	canBeUnique bool
	// virtualID is true if ids, where they come from, are computed at each look, so that no index can be made of them.
	virtualID bool
	// reads is the relation behind a view that pages are read from, holds the table behind a view that rows are stored in; nil = it
	// is not one.
	reads, holds *under
	// behind are the tables behind a view.
	behind []relation
	// encoding is the database's, as Postgres calls it.
	encoding string
}

// Finding is something that check reports.
type Finding struct{ Code, Text, Hint string }

// The types that serve for a column. All but the keys are read through a cast to text, so
// whatever prints as wanted serves.
var (
	textTypes    = []uint32{pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID}
	integerTypes = []uint32{pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID}
	numberTypes  = []uint32{pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID}
	timeTypes    = []uint32{pgtype.TimestamptzOID, pgtype.TimestampOID}
)

type rule struct {
	oids  []uint32
	enum  bool
	words string
}

func rules(column int) rule {
	switch column {
	case colID:
		return rule{oids: slices.Concat(integerTypes, []uint32{pgtype.UUIDOID, pgtype.TextOID, pgtype.VarcharOID}), words: "bigint, integer, uuid or text"}
	case colExportedAt, colOccurredAt:
		return rule{oids: timeTypes, words: "timestamp with time zone"}
	case colTutorialID, colPortalID:
		return rule{oids: slices.Concat(integerTypes, textTypes, []uint32{pgtype.NumericOID}), words: "integer, bigint or text of digits"}
	case colUserID, colAnonymousID:
		return rule{oids: slices.Concat(textTypes, integerTypes, numberTypes, []uint32{pgtype.UUIDOID}), words: "text or a number"}
	case colKind:
		return rule{oids: textTypes, enum: true, words: "text"}
	default:
		return rule{oids: slices.Concat(textTypes, []uint32{pgtype.UUIDOID}, integerTypes), enum: true, words: "text"}
	}
}

// newTable makes a table of what the catalog says of the export. Everything that stands in
// the way is a [fault.Precondition] that names table and column, what was expected, and the
// remedy; several wrong columns come as one error.
//
// role is who reads.
func newTable(spec Spec, role string, rows []queries.ExportColumnsRow) (*Table, error) {
	if len(rows) == 0 {
		return nil, fault.New(fault.Precondition, "looking for table %s: there is none in this database", spec.Relation()).
			WithHint("Check interactions.url and interactions.table in the config; the table needs its schema's name in front.")
	}
	if readable := rows[0].Readable; readable != nil && !*readable {
		return nil, fault.New(fault.Precondition, "reading table %s: permission denied", spec.Relation()).
			WithHint("%s", grantHint(spec, role))
	}
	table := &Table{Spec: spec, HasKind: !spec.ByEventName, kind: rows[0].Relkind}
	var problems []string
	for i := range numColumns {
		if problem := table.take(i, rows); problem != "" {
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		names := make([]string, len(rows))
		for i, row := range rows {
			names[i] = row.Name
		}
		e := fault.New(fault.Precondition, "reading table %s: %s", spec.Relation(), strings.Join(problems, "; "))
		if slices.ContainsFunc(rows, func(r queries.ExportColumnsRow) bool { return !r.ColumnReadable }) {
			return nil, e.WithHint("%s", grantHint(spec, role))
		}
		return nil, e.WithHint("Map the names in the config, `interactions: {columns: {canonical: yours}}` under the source, or read from a view that has the columns. The table has: %s.%s",
			strings.Join(names, ", "), kindHint(spec, names))
	}
	return table, nil
}

// take finds one canonical column in the catalog's rows and returns what is
// wrong with it, or "".
func (t *Table) take(column int, rows []queries.ExportColumnsRow) string {
	if column == colKind && !t.HasKind {
		return ""
	}
	canonical, name := Names[column], t.column(Names[column])
	i := slices.IndexFunc(rows, func(r queries.ExportColumnsRow) bool { return r.Name == name })
	if i < 0 {
		return fmt.Sprintf("column %q (%s) is missing", name, canonical)
	}
	row := rows[i]
	if !row.ColumnReadable {
		return fmt.Sprintf("column %q (%s): permission denied", name, canonical)
	}
	oid := uint32(row.TypeOid)
	wanted := rules(column)
	if !slices.Contains(wanted.oids, oid) && (!wanted.enum || row.TypeKind != "e") {
		return fmt.Sprintf("column %q (%s) is of type %s, expected %s", name, canonical, row.TypeName, wanted.words)
	}
	t.Columns[column] = Column{Name: name, Type: row.TypeName, oid: oid}
	if column == colID {
		t.UniqueID, t.canBeUnique, t.virtualID, t.nullID = row.IsUnique, row.CanBeUnique, row.IsVirtual, !row.NotNull
	}
	return ""
}

// Findings are what an operator should know and that stops nothing.
func (t *Table) Findings() (findings []Finding) {
	for _, column := range []int{colOccurredAt, colExportedAt} {
		if t.Columns[column].zoned() {
			continue
		}
		findings = append(findings, Finding{
			Code: "timestamp_without_time_zone",
			Text: fmt.Sprintf("column %q (%s) is of type timestamp without time zone; it is read as of %s, by interactions.timezone", t.Columns[column].Name, Names[column], t.zone()),
			Hint: t.onTable("ALTER TABLE %s ALTER COLUMN %[2]s TYPE timestamptz USING %[2]s AT TIME ZONE %[3]s;", t.sanitized(column), t.zoneText()),
		})
	}
	return findings
}

// kindHint is what to do where the column kind alone has no other name: a guess would reach
// Segment, which takes nothing back.
func kindHint(spec Spec, names []string) string {
	if spec.ByEventName || slices.Contains(names, spec.column(Names[colKind])) {
		return ""
	}
	return " If no column says what a row is, write `interactions: {kinds: by_event_name}` under the source: then a row without event_name is a view, any other an interaction."
}

// Encoding returns the encoding of the export's database, as Postgres calls it.
func (t *Table) Encoding() string { return t.encoding }

// has reports whether the table has a column, which is in question for kind alone.
func (t *Table) has(column int) bool { return t.Columns[column].Name != "" }

// zoned reports whether a time column is a timestamptz.
func (c Column) zoned() bool { return c.oid == pgtype.TimestamptzOID }

func grantHint(spec Spec, role string) string {
	return fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %[2]s;",
		pgx.Identifier{spec.Schema}.Sanitize(), pgx.Identifier{role}.Sanitize(), spec.Relation())
}
