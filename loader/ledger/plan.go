package ledger

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/migrations"
	"github.com/candu-loader/candu-loader/queries"
)

// Plan returns the SQL that Migrate would run, without running it. Who may not create schemas gives it to
// somebody who may: what it makes is a schema that Migrate goes on with.
func Plan(ctx context.Context, url secret.URL, id Identity) (Migration, string, error) {
	plan := Migration{Schema: id.Schema}
	m, err := openMigrator(ctx, url, id)
	if err != nil {
		return plan, "", err
	}
	defer m.close()
	var look queries.SchemaLookRow
	err = postgres.InTx(ctx, m.pool, "", func(tx pgx.Tx) (err error) {
		if look, err = m.look(ctx, tx); err != nil || !look.Ours {
			return err
		}
		driver := exactDriver{ctx: ctx, tx: tx, q: m.q}
		_, _, err = driver.Version()
		plan.From = driver.from
		return err
	})
	if err != nil {
		return plan, "", m.explain(err, "reading the version of schema %q", m.id.Schema)
	}
	var b strings.Builder
	if !look.Present {
		fmt.Fprintf(&b, "create schema %s;\n", m.schema)
	}
	plan.To = plan.From
	fmt.Fprintf(&b, "set search_path to %s;\n", postgres.Path(m.id.Schema))
	if !look.Ours {
		fmt.Fprintf(&b, "%s;\n", makeVersionTable)
	}
	for _, file := range embedded() {
		if file.version > plan.From {
			fmt.Fprintf(&b, "\n-- migration %d\n%s", file.version, file.sql)
			plan.To = file.version
		}
	}
	if plan.To > plan.From {
		fmt.Fprintf(&b, "\ndelete from %s;\ninsert into %[1]s (version, dirty) values (%d, false);\n", versionTable, plan.To)
	}
	for _, grant := range m.grants() {
		fmt.Fprintf(&b, "%s;\n", grant)
	}
	return plan, b.String(), nil
}

// file is one of the migrations that the program brings along.
type file struct {
	version int
	sql     string
}

// embedded returns the migrations in order. They are part of the program, so reading them
// can't go wrong.
func embedded() (files []file) {
	names, _ := fs.Glob(migrations.Files, "*.up.sql")
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, _ := strconv.Atoi(number)
		text, _ := migrations.Files.ReadFile(name)
		files = append(files, file{version: version, sql: string(text)})
	}
	return files
}

// Latest returns the version that this program's migrations lead to.
func Latest() int { return before(math.MaxInt) }

// before returns the version that comes before another one, 0 if there is none.
func before(version int) (last int) {
	for _, file := range embedded() {
		if file.version < version {
			last = file.version
		}
	}
	return last
}
