package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// drift compares facts about a schema with those that the migrations make.
type drift struct {
	schema, role string
	now          shape
}

// needed are the rights that recording takes.
func needed(relation string) []string {
	switch relation {
	case screens.name, tracks.name, interactions.name:
		return []string{"SELECT", "INSERT"}
	case "loader_state":
		return []string{"SELECT", "UPDATE"}
	case "loader_rejects":
		return []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	case versionTable:
		return []string{"SELECT"}
	}
	return []string{"SELECT", "INSERT", "UPDATE"}
}

func (d *drift) quote(name string) string { return pgx.Identifier{d.schema, name}.Sanitize() }

// breaks is a difference with which rows can't be recorded.
func breaks(remedy, format string, args ...any) Difference {
	return Difference{Text: fmt.Sprintf(format, args...), Remedy: remedy, Breaks: true}
}

func (d *drift) relation(name string) (found []Difference) {
	was, now := made.of(name, "relation")[0], d.now.of(name, "relation")
	table := was.Name == "r"
	switch {
	case len(now) == 0 && table:
		return d.missing(name)
	case len(now) == 0:
		return []Difference{{
			Text: fmt.Sprintf("view %q is missing", name), Readers: true,
			Remedy: fmt.Sprintf("Rename it back, or make %s anew as candu-loader's migrations do.", d.quote(name)),
		}}
	case !table:
		return nil
	case now[0].Name != "r" && now[0].Name != "p":
		return []Difference{breaks("Rename it, and put the table back in its place.", "%q is no table any more", name)}
	}
	found = append(found, d.columns(name)...)
	found = append(found, d.uniques(name)...)
	found = append(found, d.constraints(name)...)
	found = append(found, d.hooks(name)...)
	return append(found, d.rights(name, now[0])...)
}

// missing is a table that is not there: renamed, if there is another one with its columns.
func (d *drift) missing(name string) []Difference {
	var columns []string
	for _, c := range made.of(name, "column") {
		columns = append(columns, c.Name)
	}
	slices.Sort(columns)
	for _, other := range d.now.of("", "other") {
		if other.Detail == strings.Join(columns, ",") {
			return []Difference{breaks(d.alter(other.Name, "RENAME TO %s", pgx.Identifier{name}.Sanitize()), "table %q is missing, and %q looks like it", name, other.Name)}
		}
	}
	return []Difference{breaks("Restore the schema from a backup.", "table %q is missing", name)}
}

func (d *drift) alter(relation, format string, args ...any) string {
	return "ALTER TABLE " + d.quote(relation) + " " + fmt.Sprintf(format, args...) + ";"
}

func (d *drift) columns(relation string) (found []Difference) {
	was, now := made.of(relation, "column"), d.now.of(relation, "column")
	for _, w := range was {
		name, kind, filled := pgx.Identifier{w.Name}.Sanitize(), typeOf(w), defaultOf(w)
		n := named(now, w.Name)
		if n == nil {
			found = append(found, breaks(d.bringBack(relation, w), "table %q has no column %q", relation, w.Name))
			continue
		}
		if typeOf(*n) != kind {
			found = append(found, breaks(d.alter(relation, "ALTER COLUMN %s TYPE %s", name, kind),
				"column %q of table %q is of type %s instead of %s", w.Name, relation, typeOf(*n), kind))
		}
		if n.Strict && !w.Strict {
			found = append(found, breaks(d.alter(relation, "ALTER COLUMN %s DROP NOT NULL", name),
				"column %q of table %q takes no NULL any more", w.Name, relation))
		}
		if w.Ours && !n.Ours {
			fill := "SET DEFAULT " + filled
			if filled == "" {
				fill = "ADD GENERATED ALWAYS AS IDENTITY"
			}
			found = append(found, breaks(d.alter(relation, "ALTER COLUMN %s %s", name, fill), "column %q of table %q has no default any more", w.Name, relation))
		}
	}
	for _, n := range now {
		if n.Strict && !n.Ours && named(was, n.Name) == nil {
			found = append(found, breaks(d.alter(relation, "ALTER COLUMN %s DROP NOT NULL", pgx.Identifier{n.Name}.Sanitize()),
				"column %q of table %q, which is not candu-loader's, takes no NULL", n.Name, relation))
		}
	}
	return found
}

// bringBack is how a column comes back: renamed, if the table has one of its type that is not ours.
func (d *drift) bringBack(relation string, column fact) string {
	name := pgx.Identifier{column.Name}.Sanitize()
	for _, n := range d.now.of(relation, "column") {
		if named(made.of(relation, "column"), n.Name) == nil && typeOf(n) == typeOf(column) {
			return d.alter(relation, "RENAME COLUMN %s TO %s", pgx.Identifier{n.Name}.Sanitize(), name)
		}
	}
	return d.alter(relation, "ADD COLUMN %s %s", name, column.Detail)
}

func typeOf(column fact) string {
	kind, _, _ := strings.Cut(column.Detail, " default ")
	return kind
}

func defaultOf(column fact) string {
	_, value, _ := strings.Cut(column.Detail, " default ")
	return value
}

// uniques finds a key that is missing, which recording leans on, and what keeps out more rows than
// the keys do.
func (d *drift) uniques(relation string) (found []Difference) {
	was, now := made.of(relation, "unique"), d.now.of(relation, "unique")
	for _, w := range was {
		if !slices.ContainsFunc(now, func(n fact) bool { return n.Detail == w.Detail && !n.Strict }) {
			found = append(found, breaks(d.alter(relation, "ADD PRIMARY KEY (%s)", w.Detail), "table %q has no primary key (%s) any more", relation, w.Detail))
		}
	}
	for _, n := range now {
		if slices.ContainsFunc(was, func(w fact) bool { return !n.Strict && covers(n.Detail, w.Detail) }) {
			continue
		}
		remedy := "DROP INDEX " + d.quote(n.Name) + ";"
		if n.Ours {
			remedy = d.alter(relation, "DROP CONSTRAINT %s", pgx.Identifier{n.Name}.Sanitize())
		}
		found = append(found, breaks(remedy, "unique index %q on table %q is not candu-loader's, and may refuse its rows", n.Name, relation))
	}
	return found
}

// covers reports whether the columns have all of the others among them: then they are unique as it is.
func covers(columns, others string) bool {
	all := strings.Split(columns, ",")
	return !slices.ContainsFunc(strings.Split(others, ","), func(c string) bool { return !slices.Contains(all, c) })
}

func (d *drift) constraints(relation string) (found []Difference) {
	for _, n := range d.now.of(relation, "constraint") {
		if named(made.of(relation, "constraint"), n.Name) != nil {
			continue
		}
		kind := "check constraint"
		if n.Detail == "f" {
			kind = "foreign key"
		}
		found = append(found, breaks(d.alter(relation, "DROP CONSTRAINT %s", pgx.Identifier{n.Name}.Sanitize()),
			"%s %q on table %q is not candu-loader's, and may refuse its rows", kind, n.Name, relation))
	}
	// Nothing else is ever deleted.
	if relation == "loader_rejects" {
		for _, n := range d.now.of(relation, "referred") {
			found = append(found, breaks(fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s;", n.Detail, pgx.Identifier{n.Name}.Sanitize()),
				"foreign key %q of table %s refers to %q, and keeps its rows from being deleted", n.Name, n.Detail, relation))
		}
	}
	return found
}

// hooks finds what may change, swallow or refuse a row, or may not.
func (d *drift) hooks(relation string) (found []Difference) {
	for _, n := range d.now.of(relation, "trigger") {
		found = append(found, Difference{
			Text:   fmt.Sprintf("trigger %q on table %q may refuse or change rows", n.Name, relation),
			Remedy: d.alter(relation, "DISABLE TRIGGER %s", pgx.Identifier{n.Name}.Sanitize()),
		})
	}
	for _, n := range d.now.of(relation, "rule") {
		found = append(found, breaks(fmt.Sprintf("DROP RULE %s ON %s;", pgx.Identifier{n.Name}.Sanitize(), d.quote(relation)),
			"rule %q on table %q rewrites what candu-loader says", n.Name, relation))
	}
	return found
}

func (d *drift) rights(relation string, now fact) (found []Difference) {
	role, owner := pgx.Identifier{d.role}.Sanitize(), now.Detail
	if now.Strict {
		remedy := d.alter(relation, "NO FORCE ROW LEVEL SECURITY")
		if !now.Ours {
			remedy = "ALTER ROLE " + role + " BYPASSRLS;"
		}
		found = append(found, breaks(remedy, "policies of table %q hold for the loader's role %q, and may hide or refuse rows", relation, d.role))
	}
	var lacks []string
	for _, right := range needed(relation) {
		if named(d.now.of(relation, "denied"), right) != nil {
			lacks = append(lacks, right)
		}
	}
	if len(lacks) > 0 {
		rights := strings.Join(lacks, ", ")
		found = append(found, breaks(fmt.Sprintf("As %q: GRANT %s ON %s TO %s;", owner, rights, d.quote(relation), role),
			"role %q may not %s on table %q, which belongs to %q", d.role, rights, relation, owner))
	}
	return found
}

// usage finds whose the schema is, which must be known before anything is asked of its tables.
func (d *drift) usage() []Difference {
	schema := d.now.of("", "schema")[0]
	d.role = schema.Name
	if !schema.Strict {
		return nil
	}
	return []Difference{breaks(
		fmt.Sprintf("As %q: GRANT USAGE ON SCHEMA %s TO %s;", schema.Detail, pgx.Identifier{d.schema}.Sanitize(), pgx.Identifier{d.role}.Sanitize()),
		"role %q may not use it, it belongs to %q", d.role, schema.Detail)}
}

// readers finds what readers lost; one difference for each.
func (d *drift) readers() (found []Difference) {
	lost := map[string][]string{}
	var order []string
	for _, relation := range readable {
		for _, n := range d.now.of(relation, "reader") {
			if lost[n.Name] == nil {
				order = append(order, n.Name)
			}
			lost[n.Name] = append(lost[n.Name], relation)
		}
	}
	for _, reader := range order {
		schema, role := pgx.Identifier{d.schema}.Sanitize(), pgx.Identifier{reader}.Sanitize()
		ours := !slices.ContainsFunc(lost[reader], func(relation string) bool { return !d.now.of(relation, "relation")[0].Ours })
		found = append(found, Difference{
			Text: fmt.Sprintf("reader %q may not read %s", reader, strings.Join(lost[reader], ", ")), Readers: true, Ours: ours,
			Remedy: fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s;", schema, role, quoted(lost[reader], d.schema), role),
		})
	}
	return found
}
