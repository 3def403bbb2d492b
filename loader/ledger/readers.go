package ledger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

func (m *migrator) grants(readers []string) []string {
	if len(readers) == 0 {
		return nil
	}
	roles := identifiers(readers)
	schema := pgx.Identifier{m.id.Schema}.Sanitize()
	statements := []string{fmt.Sprintf("grant usage on schema %s to %s", schema, roles)}
	for _, name := range readable {
		statements = append(statements, fmt.Sprintf("grant select on %s to %s", pgx.Identifier{m.id.Schema, name}.Sanitize(), roles))
	}
	return statements
}

// revokes takes back what was granted to roles that are no readers any more.
func (m *migrator) revokes(before []string) []string {
	var statements []string
	for _, role := range before {
		if slices.Contains(m.id.Readers, role) {
			continue
		}
		for _, name := range readable {
			statements = append(statements, fmt.Sprintf("revoke select on %s from %s",
				pgx.Identifier{m.id.Schema, name}.Sanitize(), pgx.Identifier{role}.Sanitize()))
		}
	}
	return statements
}

func identifiers(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = pgx.Identifier{name}.Sanitize()
	}
	return strings.Join(quoted, ", ")
}

// sortedReaders is how the readers are stored, so that order means nothing; it
// is never nil, which Postgres would take for NULL.
func sortedReaders(readers []string) []string {
	sorted := append([]string{}, readers...)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}
