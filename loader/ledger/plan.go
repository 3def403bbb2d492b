package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	all, err := versions()
	if err != nil {
		return plan, "", err
	}
	fmt.Fprintf(&b, "set search_path to %s;\n", schema)
	for _, v := range all {
		if v <= plan.From {
			continue
		}
		text, err := migrationText(v)
		if err != nil {
			return plan, "", err
		}
		fmt.Fprintf(&b, "\n-- migration %d\n%s", v, text)
		plan.To = v
	}
	for _, grant := range m.grants(id.Readers) {
		fmt.Fprintf(&b, "%s;\n", grant)
	}
	return plan, b.String(), nil
}

func previousOf(version int) (int, error) {
	all, err := versions()
	before := 0
	for _, v := range all {
		if v < version {
			before = v
		}
	}
	return before, err
}

// versions lists the embedded migrations in order.
func versions() ([]int, error) {
	names, err := fs.Glob(migrations.Files, "*.up.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []int
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		v, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("reading the number of migration %q: %w", name, err)
		}
		all = append(all, v)
	}
	return all, nil
}

func migrationText(version int) (string, error) {
	names, err := fs.Glob(migrations.Files, fmt.Sprintf("%06d_*.up.sql", version))
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("finding migration %d: %w", version, errors.Join(err, fs.ErrNotExist))
	}
	text, err := fs.ReadFile(migrations.Files, names[0])
	return string(text), err
}
