// Package preflight looks at everything that a run of a source needs, before it runs. It
// changes nothing.
package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
	"github.com/candu-loader/candu-loader/loader/source"
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

// Target is what is looked at.
type Target struct {
	Config *config.Config
	Source *config.Source
	// Offline leaves Segment out.
	Offline bool
	// Export opens the export, Ledger the warehouse; Plan says what migrating would do.
	Export func(ctx context.Context) (*source.Source, error)
	Ledger func(ctx context.Context) (*ledger.Ledger, error)
	Plan   func(ctx context.Context) (ledger.Migration, error)
	// SameExport refuses an export that the watermark is not about. gone says that one lost its end,
	// "" if it did not.
	SameExport func(ctx context.Context) (gone, remedy string, err error)
	// Rules make events of the table's rows. ReadsFrom is where a run begins to read, the zero cursor =
	// the beginning.
	Rules     func(table *source.Table, state ledger.State) *event.Rules
	ReadsFrom func(table *source.Table, state ledger.State) source.Cursor
}

// checker collects what it sees, and goes on after each trouble.
type checker struct {
	Target

	// exportClock is zero if the export can't be read.
	exportClock time.Time
	findings    []Finding
}

func (c *checker) add(level Level, code, hint, format string, args ...any) {
	c.findings = append(c.findings, Finding{Code: code, Level: level, Source: c.Source.Nickname, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// trouble makes a finding of an error. What keeps the export from being read at all is found by each
// look at it, and told once.
func (c *checker) trouble(code string, err error) {
	for cause, name := range map[error]string{source.ErrRowSecurity: "export_row_security", source.ErrFunctionPath: "export_search_path"} {
		if errors.Is(err, cause) {
			code = name
			if slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Code == name }) {
				return
			}
		}
	}
	c.add(LevelError, code, fault.HintOf(err), "%s", err)
}

// http looks at what serve shows to whom. It concerns no source, so it stands with the first.
func (c *checker) http() {
	h := c.Config.HTTP
	if c.Source != c.Config.Sources[0] || h.User != "" || h.Loopback() {
		return
	}
	c.add(LevelWarning, "http_open", "Under http: add  user: operator  and  password_file: /run/secrets/candu-loader-http , or listen on 127.0.0.1:8321.",
		"serve would show the status page to anyone who can reach %s", h.Listen)
}

// Check finds what it can, and does not stop at the first trouble.
func Check(ctx context.Context, t Target) []Finding {
	c := &checker{Target: t}
	c.add(LevelInfo, "config_read", "", "%s: schema %q, table %s", t.Config.Path, t.Source.Schema, t.Source.Interactions.Table)
	c.http()
	if others := t.Config.SharesKey(t.Source); len(others) > 0 {
		c.add(LevelWarning, "write_key_shared", "Give each its own, unless both are meant to end in one source of Segment.",
			"the write key is that of source %s too: Segment takes the events of both for one source's", strings.Join(others, ", "))
	}
	c.urls()
	if path := t.Source.Interactions.SearchPath; len(path) > 0 {
		c.add(LevelWarning, "search_path_set", "ALTER FUNCTION ... SET search_path = ..., for the functions behind the export; then take interactions.search_path out of the config.",
			"functions behind the export find names in %s: who may create objects there may change what is read", strings.Join(path, ", "))
	}
	c.export(ctx)
	c.warehouse(ctx)
	if !t.Offline {
		c.segment(ctx)
	}
	return c.findings
}

// urls warns of parameters that have no effect. What can't be connected to is said elsewhere.
func (c *checker) urls() {
	export, _ := postgres.CheckURL(c.Source.Interactions.URL, true)
	warehouse, _ := postgres.CheckURL(c.Config.Warehouse.URL, true)
	for _, url := range []struct {
		name    string
		without []string
	}{{"export", export}, {"warehouse", warehouse}} {
		if len(url.without) > 0 {
			c.add(LevelWarning, url.name+"_url_parameters", "Take them out of the URL. The loader asks for keepalives by itself.",
				"%s: parameters of the URL that the driver lacks, and that have no effect: %s", url.name, strings.Join(url.without, ", "))
		}
	}
}

// server reports what any of the two servers says of itself.
func (c *checker) server(name string, server postgres.Server, url string, pooled bool) {
	c.add(LevelInfo, name+"_connected", "", "%s: Postgres %s, database %q, role %q", name, server.Version, server.Database, server.Role)
	if skew := time.Since(server.Clock); skew.Abs() > allowedSkew {
		c.add(LevelWarning, name+"_clock_skew", "Run NTP on both machines.",
			"%s: this machine's clock is %s of the server's", name, segment.Skew(skew))
	}
	if !server.Encrypted && !local(url) {
		c.add(LevelWarning, name+"_not_encrypted", "Append ?sslmode=verify-full to the URL.", "%s: the connection is not encrypted", name)
	}
	if pooled {
		c.add(LevelInfo, name+"_pooler", "", "%s: there is a pooler in between; each transaction brings its settings along", name)
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

func (c *checker) warehouse(ctx context.Context) {
	book, err := c.Ledger(ctx)
	switch {
	case errors.Is(err, postgres.ErrEncoding):
		c.trouble("warehouse_encoding", err)
		return
	case err != nil:
		c.trouble("warehouse_unusable", err)
		return
	}
	server, err := book.Server(ctx)
	if err != nil {
		c.trouble("warehouse_unusable", err)
		return
	}
	c.server("warehouse", server, c.Config.Warehouse.URL.Reveal(), book.Pooled(ctx))
	if server.IsReplica {
		c.add(LevelError, "warehouse_read_only", "warehouse.url must lead to the primary.", "the warehouse is a replica, it can't be written to")
	}
	plan, err := c.Plan(ctx)
	state, stateErr := book.State(ctx)
	broken := !errors.Is(stateErr, ledger.ErrAbsent) && c.schema(ctx, book)
	switch {
	case broken: // What else goes wrong, does so for that.
	case err != nil:
		c.trouble("schema_unusable", err)
	case errors.Is(stateErr, ledger.ErrAbsent):
		c.trouble("schema_missing", stateErr)
	case plan.From == 0:
		c.add(LevelError, "schema_elsewhere", "Both must lead to the same database.",
			"schema %q is where warehouse.url leads to, and not where warehouse.migrate_url does", c.Source.Schema)
	case plan.From < plan.To:
		c.add(LevelInfo, "schema_old", "candu-loader migrate "+c.Source.Nickname,
			"schema %q is at version %d, the next run will upgrade it to %d", c.Source.Schema, plan.From, plan.To)
	default:
		c.add(LevelInfo, "schema_current", "", "schema %q is at version %d", c.Source.Schema, plan.To)
	}
	if err == nil && !broken && stateErr == nil {
		stateErr = c.identity(ctx, book, state)
	}
	if err == nil && !broken && stateErr != nil && !errors.Is(stateErr, ledger.ErrAbsent) && !errors.Is(stateErr, ledger.ErrNotMigrated) {
		c.trouble("schema_unusable", stateErr)
	}
}

// schema compares the schema with what candu-loader makes, and reports whether a run would stumble
// over it.
func (c *checker) schema(ctx context.Context, book *ledger.Ledger) (broken bool) {
	found, err := book.Differences(ctx)
	if err != nil {
		c.trouble("schema_unusable", err)
		return true
	}
	for _, d := range found {
		level, code := LevelWarning, "schema_differs"
		switch {
		case d.Breaks:
			level, broken = LevelError, true
		case d.Readers:
			code = "readers_differ"
		}
		c.add(level, code, d.Remedy, "schema %q: %s", c.Source.Schema, d.Text)
	}
	return broken
}

func (c *checker) segment(ctx context.Context) {
	endpoint := c.Config.Segment.Endpoint
	ahead, err := segment.Reach(ctx, endpoint)
	if err != nil {
		c.add(LevelError, "segment_unreachable", "Let this machine reach it (proxy: $HTTPS_PROXY), or check with --offline.", "%s", err)
	} else {
		c.add(LevelInfo, "segment_reachable", "", "%s answers", endpoint)
	}
	if err := segment.ClockError(endpoint, ahead); err != nil {
		c.trouble("segment_clock_skew", err)
	} else if ahead.Abs() > segment.WarnSkew {
		c.add(LevelWarning, "segment_clock_skew", "Run NTP on this machine.",
			"this machine's clock is %s of the one of %s, which shifts the time of every event by as much", segment.Skew(ahead), endpoint)
	}
	if c.Config.Segment.CDN == "" {
		c.add(LevelInfo, "write_key_not_asked", "", "nobody is asked whether Segment knows the write key: segment.cdn_endpoint is none, or only segment.endpoint is this machine")
		return
	}
	switch err := segment.CheckKey(ctx, c.Config.Segment.CDN, c.Source.WriteKey); {
	case err == nil:
		c.add(LevelInfo, "write_key_known", "", "Segment knows the write key")
	case errors.Is(err, segment.ErrUnknownKey):
		c.trouble("write_key_unknown", err)
	default:
		c.add(LevelWarning, "write_key_unchecked", "Let this machine reach it, or check with --offline.", "%s", err)
	}
}
