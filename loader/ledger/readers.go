package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// readable is what the readers may see: the mirror and the views, not the
// ledger's own tables.
var readable = []string{"tracks", "tutorial_interaction", "screens", "tutorial_view", "tutorial_daily", "loader_freshness"}

func (m *migrator) grants() []string {
	if len(m.id.Readers) == 0 {
		return nil
	}
	roles := quoted(m.id.Readers)
	return []string{
		fmt.Sprintf("grant usage on schema %s to %s", m.schema, roles),
		fmt.Sprintf("grant select on %s to %s", quoted(readable, m.id.Schema), roles),
	}
}

// revokes takes back what was granted to roles that are no readers any more.
func (m *migrator) revokes(before []string) []string {
	gone := slices.DeleteFunc(before, func(role string) bool { return slices.Contains(m.id.Readers, role) })
	if len(gone) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("revoke select on %s from %s", quoted(readable, m.id.Schema), quoted(gone))}
}

// quoted lists names, each in its schema if there is one.
func quoted(names []string, schema ...string) string {
	return strings.Join(each(names, func(name string) string { return append(pgx.Identifier(schema), name).Sanitize() }), ", ")
}

// sortedReaders is how the readers are stored, so that order means nothing; it
// is never nil, which Postgres would take for NULL.
func sortedReaders(readers []string) []string {
	sorted := append([]string{}, readers...)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}
