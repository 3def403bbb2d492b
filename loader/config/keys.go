package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/secret"
)

// canonical are the columns of the export.
var canonical = []string{
	"id", "kind", "user_id", "anonymous_id", "tutorial_id", "segment_id", "portal_id", "version_id",
	"event_name", "occurred_at", "exported_at",
}

// decode reads the whole file.
func (d *decoder) decode(text []byte) *Config {
	c := &Config{
		Path: d.path,
		Segment: Segment{
			Endpoint: DefaultEndpoint, CDN: DefaultCDN, BatchSize: DefaultBatchSize, Concurrency: DefaultConcurrency,
			MaxEventsPerSecond: DefaultMaxEventsPerSecond, RetryFor: DefaultRetryFor,
		},
		HTTP: HTTP{Listen: DefaultListen},
	}
	root := d.root(text)
	if root == nil {
		return c
	}
	var sources value
	present := d.keys(value{node: root}, map[string]func(value){
		"warehouse": func(v value) { d.warehouse(v, &c.Warehouse) },
		"segment":   func(v value) { d.segment(v, &c.Segment) },
		"sources":   func(v value) { sources = v },
		"http":      func(v value) { d.http(v, &c.HTTP) },
		"alerts":    func(v value) { d.alerts(v, &c.Alerts) },
	})
	if _, ok := present["warehouse"]; !ok {
		d.problem(value{key: "warehouse"}, "Add:  warehouse: {url: \"${DATABASE_URL}\"}", "is missing")
	}
	// After warehouse, whose URL is the sources' default.
	if sources.node != nil {
		d.sources(sources, c)
	}
	if len(c.Sources) == 0 && sources.node == nil {
		d.problem(value{key: "sources"}, "Add at least:  sources: [{nickname: Candu_Prod, write_key: \"${CANDU_PROD_WRITE_KEY}\"}]", "there is none")
	}
	return c
}

func (d *decoder) warehouse(v value, w *Warehouse) {
	var direct, file, migrate, migrateFile string
	present := d.keys(v, map[string]func(value){
		"url": d.setText(&direct), "url_file": d.setFile(&file),
		"migrate_url": d.setText(&migrate), "migrate_url_file": d.setFile(&migrateFile),
		"readers": d.setTexts(&w.Readers),
	})
	w.URL = secret.URL(d.either(present, "url", direct, file))
	w.MigrateURL = secret.URL(d.either(present, "migrate_url", migrate, migrateFile))
	if w.MigrateURL == "" {
		w.MigrateURL = w.URL
	}
	_, given := present["url"]
	_, inFile := present["url_file"]
	if !given && !inFile {
		d.problem(value{node: v.node, key: v.key + ".url"}, "Add:  url: ${DATABASE_URL}", "is missing")
	} else if given && direct == "" && len(d.problems) == 0 {
		d.problem(present["url"], "For example postgres://loader@db.example.com/warehouse", "is empty")
	}
	d.checkURL(present, "url", w.URL)
	d.checkURL(present, "migrate_url", w.MigrateURL)
}

// either returns the value of a key or of its _file twin; both are a problem.
func (d *decoder) either(present map[string]value, key, direct, file string) string {
	at, both := present[key]
	if _, ok := present[key+"_file"]; ok {
		if both {
			d.problem(at, "Take one of them out.", "stands beside %s_file", key)
		}
		return file
	}
	return direct
}

// checkURL refuses what no driver would take. The value may be a secret, so it
// is not repeated.
func (d *decoder) checkURL(present map[string]value, key string, u secret.URL) {
	at, ok := present[key]
	if !ok || u == "" {
		return
	}
	s := u.Reveal()
	if !strings.HasPrefix(s, "postgres://") && !strings.HasPrefix(s, "postgresql://") && !strings.Contains(s, "=") {
		d.problem(at, "For example postgres://loader@db.example.com/warehouse", "is not a Postgres URL")
	}
}

func (d *decoder) segment(v value, s *Segment) {
	present := d.keys(v, map[string]func(value){
		"endpoint": d.setText(&s.Endpoint), "cdn_endpoint": d.setText(&s.CDN),
		"batch_size":            d.setInt(&s.BatchSize, 1, 2500, "events"),
		"concurrency":           d.setInt(&s.Concurrency, 1, 64, "batches in flight"),
		"max_events_per_second": d.setInt(&s.MaxEventsPerSecond, 0, math.MaxInt32, "events a second (0 = no limit)"),
		"retry_for":             d.setDuration(&s.RetryFor, 0),
	})
	if at, ok := present["endpoint"]; ok {
		s.Endpoint = strings.TrimRight(s.Endpoint, "/")
		d.checkHost(at, s.Endpoint, DefaultEndpoint)
	}
	if at, ok := present["cdn_endpoint"]; ok {
		s.CDN = strings.TrimRight(s.CDN, "/")
		d.checkHost(at, s.CDN, DefaultCDN)
	}
}

// checkHost allows Segment's own host and loopback. Candu is a source of
// Segment's US region alone: the EU endpoint answers 200 and drops the events
// (https://segment.com/docs/guides/regional-segment/).
func (d *decoder) checkHost(at value, endpoint, only string) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		d.problem(at, "Write "+only, "%q is not a URL of scheme and host", endpoint)
	case strings.HasSuffix(u.Hostname(), "segmentapis.com"):
		d.problem(at, "Write "+only, "%q is Segment's EU endpoint; Candu is a source of the US region, the events would be dropped", endpoint)
	case u.Path != "" || u.RawQuery != "":
		d.problem(at, fmt.Sprintf("Write %s://%s; the path is added.", u.Scheme, u.Host), "%q has a path, expected scheme and host alone", endpoint)
	case endpoint == only || loopback(u.Hostname()):
	default:
		d.problem(at, "Write "+only, "%q is neither Segment's host nor this machine", endpoint)
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

func (d *decoder) sources(v value, c *Config) {
	items := d.items(v)
	if len(items) == 0 {
		d.problem(v, "Add at least:  sources: [{nickname: Candu_Prod, write_key: \"${CANDU_PROD_WRITE_KEY}\"}]", "there is none")
	}
	nicknames, schemas := map[string]int{}, map[string]*Source{}
	for _, item := range items {
		s := d.source(item, c.Warehouse.URL)
		if first, twice := nicknames[s.Nickname]; twice && s.Nickname != "" {
			d.problem(item, "Give each source a nickname of its own.", "nickname %q is taken by the source in line %d", s.Nickname, first)
		}
		nicknames[s.Nickname] = item.line()
		if first := schemas[s.Schema]; first != nil && s.Schema != "" && first.Nickname != s.Nickname {
			d.problem(item, "Set `schema:` in one of them.", "%q and %q (line %d) would share schema %q", s.Nickname, first.Nickname, first.Line, s.Schema)
		}
		schemas[s.Schema] = s
		c.Sources = append(c.Sources, s)
	}
}

func (d *decoder) source(v value, warehouse secret.URL) *Source {
	s := &Source{
		Line: v.line(), Location: time.UTC, Lookback: DefaultLookback, PageSize: DefaultPageSize, CatchUp: DefaultCatchUp,
		Interactions: Interactions{URL: warehouse, Kinds: Kinds{View: []string{"view"}, Interaction: []string{"interaction"}}},
	}
	s.Interactions.Table, _ = parseTable(defaultTable)
	var key, keyFile, cron, zone, namespace, start string
	present := d.keys(v, map[string]func(value){
		"nickname": d.setText(&s.Nickname), "write_key": d.setText(&key), "write_key_file": d.setFile(&keyFile),
		"schema": d.setText(&s.Schema), "schedule": d.setText(&cron), "timezone": d.setText(&zone),
		"catch_up": d.setDuration(&s.CatchUp, 0), "run_deadline": d.setDuration(&s.RunDeadline, time.Second),
		"message_namespace": d.setText(&namespace), "start_at": d.setText(&start),
		"lookback":     d.setDuration(&s.Lookback, 0),
		"page_size":    d.setInt(&s.PageSize, 1, 50_000, "rows"),
		"interactions": func(v value) { d.interactions(v, &s.Interactions) },
		"integrations": func(v value) {
			if err := yaml.NodeToValue(v.node, &s.Integrations); err != nil {
				d.problem(v, "For example {All: true}", "expected keys and values")
			}
		},
	})
	s.WriteKey = secret.String(d.either(present, "write_key", key, keyFile))
	d.sourceNames(v, s, present)
	if at, ok := present["timezone"]; ok && zone != "" {
		location, err := time.LoadLocation(zone)
		if err != nil {
			d.problem(at, "Write a name of the tz database, for example Europe/Berlin or UTC.", "unknown time zone %q", zone)
		} else {
			s.Location = location
		}
	}
	if at, ok := present["schedule"]; ok && cron != "" {
		s.Schedule = d.schedule(at, cron, s.Location)
	}
	if at, ok := present["message_namespace"]; ok && namespace != "" {
		id, err := uuid.Parse(namespace)
		if err != nil || id == uuid.Nil {
			d.problem(at, "Leave it out to have one made, or write the one that `candu-loader status` shows.", "%q is not a UUID", namespace)
		}
		s.MessageNamespace = id
	}
	if at, ok := present["start_at"]; ok {
		s.StartAt = d.startAt(at, start, s.Location)
	}
	return s
}

func (d *decoder) sourceNames(v value, s *Source, present map[string]value) {
	_, named := present["nickname"]
	switch {
	case !named:
		d.problem(v, "Add:  nickname: Candu_Prod", "nickname is missing")
	case strings.TrimSpace(s.Nickname) == "":
		d.problem(present["nickname"], "For example Candu_Prod", "is empty")
	}
	_, key := present["write_key"]
	_, file := present["write_key_file"]
	if !key && !file {
		d.problem(v, "Add:  write_key: ${CANDU_PROD_WRITE_KEY}   (in Segment: Connections > Sources > your source > Settings > API Keys)", "write_key is missing")
	} else if key && !file && s.WriteKey == "" && !d.hasProblem(present["write_key"]) {
		d.problem(present["write_key"], "In Segment: Connections > Sources > your source > Settings > API Keys.", "is empty")
	}
	if at, ok := present["schema"]; ok && s.Schema != "" {
		if wrong := checkSchema(s.Schema); wrong != "" {
			d.problem(at, "For example candu_prod", "%q %s", s.Schema, wrong)
		}
		return
	}
	if strings.TrimSpace(s.Nickname) == "" {
		return
	}
	schema, err := SchemaName(s.Nickname)
	if err == nil && checkSchema(schema) != "" {
		err = fmt.Errorf("schema %q, made of the nickname, %s", schema, checkSchema(schema))
	}
	if err != nil {
		d.problem(present["nickname"], "Add:  schema: <name>", "%s", err)
	}
	s.Schema = schema
}

func (d *decoder) hasProblem(v value) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == v.key })
}

func (d *decoder) startAt(at value, text string, location *time.Location) StartAt {
	switch text {
	case "", "beginning":
		return StartAt{}
	case "now":
		return StartAt{Mode: StartNow}
	}
	moment, err := ParseTime(text, location)
	if err != nil {
		d.problem(at, "Write beginning, now, 2026-01-31 or 2026-01-31T08:00:00Z.", "%q: expected beginning, now or a date", text)
	}
	return StartAt{Mode: StartDate, At: moment}
}

// ParseTime reads a date, which is midnight in location, or a time of RFC 3339.
func ParseTime(text string, location *time.Location) (time.Time, error) {
	if moment, err := time.ParseInLocation(time.DateOnly, text, location); err == nil {
		return moment, nil
	}
	moment, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a date (2026-01-31) nor a time (2026-01-31T08:00:00Z)", text)
	}
	return moment, nil
}

func (d *decoder) interactions(v value, i *Interactions) {
	var direct, file, table string
	var columns value
	present := d.keys(v, map[string]func(value){
		"url": d.setText(&direct), "url_file": d.setFile(&file), "table": d.setText(&table),
		"columns": func(v value) { columns = v },
		"kinds":   func(v value) { d.kinds(v, &i.Kinds) },
	})
	if u := d.either(present, "url", direct, file); u != "" {
		i.URL = secret.URL(u)
		d.checkURL(present, "url", i.URL)
	}
	if at, ok := present["table"]; ok && table != "" {
		parsed, err := parseTable(table)
		if err != nil {
			d.problem(at, `Write schema.table; names with capitals or dots in double quotes: '"My Schema"."Table"'.`, "%s", err)
		}
		i.Table = parsed
	}
	i.Columns, i.Mapped = map[string]string{}, map[string]bool{}
	if columns.node == nil {
		return
	}
	known := map[string]func(value){}
	for _, name := range canonical {
		known[name] = func(v value) {
			if text, ok := d.text(v); ok && text != "" {
				i.Columns[name], i.Mapped[name] = text, true
			}
		}
	}
	d.keys(columns, known)
}

func (d *decoder) kinds(v value, k *Kinds) {
	present := d.keys(v, map[string]func(value){"view": d.setTexts(&k.View), "interaction": d.setTexts(&k.Interaction)})
	for _, spelling := range k.View {
		if slices.Contains(k.Interaction, spelling) {
			at := v
			if p, ok := present["interaction"]; ok {
				at = p
			}
			d.problem(at, "Take it out of one of them.", "%q stands for view and for interaction", spelling)
		}
	}
}

// parseTable reads schema.table, each name plain or in double quotes; without
// a schema it is public. A plain name is taken as it is written.
func parseTable(text string) (Table, error) {
	var names []string
	for rest := text; ; {
		var name string
		if strings.HasPrefix(rest, `"`) {
			end := strings.Index(rest[1:], `"`)
			if end < 1 {
				return Table{}, fmt.Errorf("%q: a quote is not closed", text)
			}
			name, rest = rest[1:1+end], rest[end+2:]
		} else {
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			name, rest = rest[:end], rest[end:]
		}
		names = append(names, name)
		if rest == "" {
			break
		}
		if !strings.HasPrefix(rest, ".") {
			return Table{}, fmt.Errorf("%q is not a table's name", text)
		}
		rest = rest[1:]
	}
	if slices.Contains(names, "") || len(names) > 2 {
		return Table{}, fmt.Errorf("%q is not a table's name", text)
	}
	if len(names) == 1 {
		return Table{Schema: "public", Name: names[0]}, nil
	}
	return Table{Schema: names[0], Name: names[1]}, nil
}
