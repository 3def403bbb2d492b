package loader

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
	"github.com/candu-loader/candu-loader/queries"
)

// Level says how bad a finding is.
type Level string

// The levels: an error stops a run, a warning may cost something, an info is good
// to know.
const (
	LevelError   Level = "error"
	LevelWarning Level = "warning"
	LevelInfo    Level = "info"
)

// Finding is one thing that check saw.
type Finding struct {
	// Code is stable.
	Code   string `json:"code"`
	Level  Level  `json:"level"`
	Source string `json:"source"`
	// Text says what was seen, Hint what to do: SQL or YAML to paste.
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

// Clock skew and the count of duplicates are bounded by these.
const (
	allowedSkew = 5 * time.Second
	// manyRows is from where on a missing index is an error rather than a warning.
	manyRows = 1_000_000
	// fewRows is up to where a plan says nothing.
	fewRows = 10_000
)

// checker collects what it sees, and goes on after each trouble.
type checker struct {
	loader   *Loader
	src      *config.Source
	findings []Finding
}

func (c *checker) add(level Level, code, hint, format string, args ...any) {
	c.findings = append(c.findings, Finding{Code: code, Level: level, Source: c.src.Nickname, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// trouble makes a finding of an error.
func (c *checker) trouble(code string, err error) {
	c.add(LevelError, code, fault.HintOf(err), "%s", err)
}

// http looks at what serve shows to whom. It concerns no source, so it stands with the first.
func (c *checker) http() {
	h := c.loader.config.HTTP
	if c.src != c.loader.config.Sources[0] || h.User != "" || h.Loopback() {
		return
	}
	c.add(LevelWarning, "http_open", "Under http: add  user: operator  and  password_file: /run/secrets/candu-loader-http , or listen on 127.0.0.1:8321.",
		"serve would show the status page to everybody who reaches %s", h.Listen)
}

// Check looks at everything that a run of the source needs, and changes nothing.
// It finds what it can and does not stop at the first trouble. offline leaves
// Segment out.
func (l *Loader) Check(ctx context.Context, src *config.Source, offline bool) []Finding {
	c := &checker{loader: l, src: src}
	c.add(LevelInfo, "config_read", "", "config %s: schema %q, table %s", l.config.Path, src.Schema, src.Interactions.Table)
	c.http()
	c.export(ctx)
	c.warehouse(ctx)
	if !offline {
		c.segment(ctx)
	}
	return c.findings
}

func (c *checker) export(ctx context.Context) {
	export, err := c.loader.Source(ctx, c.src)
	if err != nil {
		c.trouble("export_unusable", err)
		return
	}
	defer export.Close()
	table := export.Table()
	c.add(LevelInfo, "export_readable", "", "table %s can be read, id is %s", table.Relation(), table.IDType())
	for _, f := range table.Findings {
		c.add(LevelWarning, f.Code, f.Hint, "%s", f.Text)
	}
	if !table.HasKind {
		c.add(LevelInfo, "no_kind_column", "If it has another name:  columns: {kind: yours}", "there is no column kind: rows without an event name are views")
	}
	err = export.Reader().Read(ctx, func(db postgres.DB) error {
		server, err := queries.New().ExportServer(ctx, db)
		if err == nil {
			c.server("export", server, c.src.Interactions.URL.Reveal(), export.Reader().Pooled())
		}
		return err
	})
	if err != nil {
		c.trouble("export_unusable", err)
	}
	c.order(ctx, export)
	c.lateCommits(ctx, export)
	c.ids(ctx, export)
}

// server reports what any of the two servers says of itself.
func (c *checker) server(name string, server queries.ExportServerRow, url string, pooled bool) {
	c.add(LevelInfo, name+"_connected", "", "%s: Postgres %s, database %q, role %q", name, server.Version, server.Database, server.Role)
	if skew := time.Since(server.ServerClock); skew.Abs() > allowedSkew {
		c.add(LevelWarning, name+"_clock_skew", "Run NTP on both machines.", "%s: the server's clock differs from this machine's by %s", name, skew.Round(time.Second))
	}
	if !server.Encrypted && !local(url) {
		c.add(LevelWarning, name+"_not_encrypted", "Append ?sslmode=verify-full to the URL.", "%s: the connection is not encrypted", name)
	}
	if pooled {
		c.add(LevelInfo, name+"_pooler", "", "%s: a pooler stands in between; every reading is a transaction of its own", name)
	}
}

// local reports whether a URL leads to this machine.
func local(url string) bool {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return false
	}
	host := config.Host
	return strings.HasPrefix(host, "/") || host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
}

// order looks for the index that pages are read with, and for rows that no page
// will hold.
func (c *checker) order(ctx context.Context, export *source.Source) {
	indexed, err := export.Indexed(ctx)
	if err != nil {
		c.trouble("index_unknown", err)
		return
	}
	rows := export.Estimate(ctx, source.Cursor{})
	statement := export.Table().IndexStatement()
	switch {
	case indexed:
		c.add(LevelInfo, "index_used", "", "pages are read by an index on (exported_at, id)")
	case export.Table().IsView():
		c.add(LevelWarning, "index_missing", "On the table behind the view: "+statement, "%s is a view; each page needs an index on (exported_at, id) behind it", export.Table().Relation())
	case rows > manyRows:
		c.add(LevelError, "index_missing", statement, "no index on (exported_at, id): each page would sort about %d rows", rows)
	default:
		c.add(LevelWarning, "index_missing", statement, "no index on (exported_at, id): each page sorts the table")
	}
	if rows > fewRows {
		// On a small table a scan is the right plan.
		switch sorts, err := export.PageSorts(ctx); {
		case err != nil:
			c.trouble("plan_unknown", err)
		case sorts && indexed:
			c.add(LevelWarning, "plan_sorts", "ANALYZE "+export.Table().Relation()+";", "the planner does not read a page by the index: its statistics may be old")
		case sorts:
			c.add(LevelWarning, "plan_sorts", "", "the planner reads each page by scanning or sorting about %d rows", rows)
		}
	}
	unreadable, err := export.Unreadable(ctx)
	switch {
	case err != nil:
		c.trouble("exported_at_unknown", err)
	case unreadable > 0:
		c.add(LevelError, "exported_at_null", export.Table().NullStatement(), "%d rows have no exported_at and are never read", unreadable)
	}
	if future, err := export.Future(ctx); err == nil && future > 0 {
		c.add(LevelWarning, "exported_at_future", "Stamp rows with now() of the export's server.",
			"%d rows have an exported_at in the future: they are sent, and read again by each run until that time has come", future)
	}
}

// lateCommits tells what catches rows that commit late.
func (c *checker) lateCommits(ctx context.Context, export *source.Source) {
	point, err := export.SafePoint(ctx)
	if err != nil {
		c.trouble("safe_point_unknown", err)
		return
	}
	if point.Prepared > 0 {
		c.add(LevelWarning, "prepared_transactions", "SELECT gid FROM pg_prepared_xacts WHERE database = current_database();  then COMMIT PREPARED or ROLLBACK PREPARED.",
			"%d prepared transactions are open: the watermark stays where it is until they end", point.Prepared)
	}
	if point.Visible {
		c.add(LevelInfo, "safe_point_visible", "", "open transactions are visible: rows that commit late are not missed; the export is settled until %s", point.At.UTC().Format(time.RFC3339))
		return
	}
	hint := "Keep lookback longer than the longest transaction that writes to the export."
	if strings.Contains(point.Reason, "pg_read_all_stats") {
		hint = fmt.Sprintf("GRANT pg_read_all_stats TO %s;", pgx.Identifier{point.Role}.Sanitize())
	}
	level := LevelWarning
	if c.src.Lookback == 0 {
		level = LevelError
	}
	c.add(level, "safe_point_hidden", hint, "%s: rows that commit late are caught by lookback (%s) alone", point.Reason, c.src.Lookback)
}

func (c *checker) ids(ctx context.Context, export *source.Source) {
	if export.Table().UniqueID {
		c.add(LevelInfo, "id_unique", "", "an index keeps ids unique")
		return
	}
	if err := export.CheckUnique(ctx, source.Cursor{}); err != nil {
		c.trouble("id_not_unique", err)
		return
	}
	c.add(LevelWarning, "id_not_guaranteed", export.Table().UniqueStatement(), "ids are unique now, but no index keeps them so; each run checks its rows, which costs time")
}

func (c *checker) warehouse(ctx context.Context) {
	book, err := c.loader.Ledger(ctx, c.src)
	if err != nil {
		c.trouble("warehouse_unusable", err)
		return
	}
	err = book.Server(ctx, func(server queries.ExportServerRow) {
		c.server("warehouse", server, c.loader.config.Warehouse.URL.Reveal(), false)
		if server.IsReplica {
			c.add(LevelError, "warehouse_read_only", "warehouse.url must lead to the primary.", "the warehouse is a replica, it can't be written to")
		}
	})
	if err != nil {
		c.trouble("warehouse_unusable", err)
		return
	}
	plan, _, err := c.loader.MigrationPlan(ctx, c.src)
	switch {
	case err != nil:
		c.trouble("schema_unusable", err)
	case plan.From == 0:
		c.add(LevelInfo, "schema_new", "", "schema %q will be made by the first run", c.src.Schema)
	case plan.From < plan.To:
		c.add(LevelInfo, "schema_old", "candu-loader migrate "+c.src.Nickname, "schema %q is at version %d, the next run brings it to %d", c.src.Schema, plan.From, plan.To)
	default:
		c.add(LevelInfo, "schema_current", "", "schema %q is at version %d", c.src.Schema, plan.To)
	}
	if err == nil && plan.From > 0 {
		if _, err := book.State(ctx); err != nil && !errors.Is(err, ledger.ErrNotMigrated) {
			c.trouble("schema_unusable", err)
		}
	}
}

func (c *checker) segment(ctx context.Context) {
	endpoint := c.loader.config.Segment.Endpoint
	if err := segment.Reach(ctx, endpoint); err != nil {
		c.add(LevelError, "segment_unreachable", "Let this machine reach it (proxy: $HTTPS_PROXY), or look with --offline.", "%s", err)
	} else {
		c.add(LevelInfo, "segment_reachable", "", "%s answers", endpoint)
	}
	switch err := segment.CheckKey(ctx, c.loader.config.Segment.CDN, c.src.WriteKey); {
	case err == nil:
		c.add(LevelInfo, "write_key_known", "", "Segment knows the write key")
	case errors.Is(err, segment.ErrUnknownKey):
		c.add(LevelError, "write_key_unknown", "Copy it from Segment: Connections > Sources > your source > Settings > API Keys.",
			"Segment does not know the write key; it would answer 200 and drop the events")
	default:
		c.add(LevelWarning, "write_key_unchecked", "Let this machine reach it, or look with --offline.", "%s", err)
	}
}
