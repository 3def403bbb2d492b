package ledger

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/migrations"
)

// Plan returns the SQL that Migrate would run, without running it.
func Plan(ctx context.Context, url secret.URL, id Identity) (Migration, string, error) {
	plan := Migration{Schema: id.Schema}
	m, err := openMigrator(ctx, url, id)
	if err != nil {
		return plan, "", err
	}
	defer m.close()
	look, err := m.look(ctx)
	if err != nil {
		return plan, "", err
	}
	var b strings.Builder
	schema := pgx.Identifier{id.Schema}.Sanitize()
	if !look.Present {
		fmt.Fprintf(&b, "create schema %s;\n", schema)
	}
	if look.Ours {
		if plan.From, err = m.version(ctx); err != nil {
			return plan, "", err
		}
	}
	plan.To = plan.From
	files, err := embedded()
	if err != nil {
		return plan, "", err
	}
	fmt.Fprintf(&b, "set search_path to %s;\n", schema)
	for _, file := range files {
		if file.version > plan.From {
			fmt.Fprintf(&b, "\n-- migration %d\n%s", file.version, file.sql)
			plan.To = file.version
		}
	}
	for _, grant := range m.grants(id.Readers) {
		fmt.Fprintf(&b, "%s;\n", grant)
	}
	return plan, b.String(), nil
}

// file is one of the migrations that the program brings along.
type file struct {
	version int
	sql     string
}

// embedded returns the migrations in order.
func embedded() ([]file, error) {
	names, err := fs.Glob(migrations.Files, "*.up.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	files := make([]file, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("reading the number of migration %q: %w", name, err)
		}
		text, err := fs.ReadFile(migrations.Files, name)
		if err != nil {
			return nil, fmt.Errorf("reading migration %q: %w", name, err)
		}
		files[i] = file{version: version, sql: string(text)}
	}
	return files, nil
}

// Latest returns the version that this program's migrations lead to.
func Latest() (int, error) {
	return before(math.MaxInt)
}

// before returns the version that comes before another one, 0 if there is none.
func before(version int) (int, error) {
	files, err := embedded()
	last := 0
	for _, file := range files {
		if file.version < version {
			last = file.version
		}
	}
	return last, err
}
