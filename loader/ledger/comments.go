package ledger

import (
	"fmt"
	"regexp"
	"strings"
)

// Relation is a table or view of the schema and what its migration says of it.
type Relation struct {
	Name    string
	Comment string
	// Columns in the order of their comments.
	Columns []Column
}

// Column is a column and what its migration says of it.
type Column struct {
	Name    string
	Comment string
}

// comment matches a COMMENT as our migrations write them: one a line.
var comment = regexp.MustCompile(`(?m)^comment on (table|view|column) (\w+)(?:\."?(\w+)"?)? is '((?:[^']|'')*)';$`)

// Relations returns the tables and views that the migrations make, with their
// comments: the one place where meanings are written down. It asks no database.
func Relations() (map[string]Relation, error) {
	relations := map[string]Relation{}
	for _, file := range embedded() {
		for _, m := range comment.FindAllStringSubmatch(file.sql, -1) {
			kind, name, column, text := m[1], m[2], m[3], strings.ReplaceAll(m[4], "''", "'")
			relation := relations[name]
			relation.Name = name
			switch {
			case kind != "column":
				relation.Comment = text
			case column == "":
				return nil, fmt.Errorf("reading migration %d: a comment on column %q names no table", file.version, name)
			default:
				relation.set(column, text)
			}
			relations[name] = relation
		}
	}
	return relations, nil
}

// set writes a column's comment; a later migration's counts.
func (r *Relation) set(column, text string) {
	for i := range r.Columns {
		if r.Columns[i].Name == column {
			r.Columns[i].Comment = text
			return
		}
	}
	r.Columns = append(r.Columns, Column{Name: column, Comment: text})
}
