package config_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
)

var update = flag.Bool("update", false, "write the golden files")

func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

// Each file has its errors beside it, as an operator reads them.
func TestLoad_Errors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(file, environment(map[string]string{"EMPTY": ""}))
			require.Error(t, err)
			require.Equal(t, fault.Config, fault.KindOf(err))
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(err.Error()+"\n"), 0o600))
			}
			want, rerr := os.ReadFile(golden)
			require.NoError(t, rerr)
			require.Equal(t, string(want), err.Error()+"\n")
			require.NotContains(t, err.Error(), "s3cr3t")
		})
	}
}

func TestLoad_TheExample(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("../../config.yaml", environment(map[string]string{
		"DATABASE_URL": "postgres://loader@db/warehouse", "CANDU_DEV_WRITE_KEY": "key",
	}))
	require.NoError(t, err)
	require.Len(t, cfg.Sources, 1)
	s := cfg.Sources[0]
	require.Equal(t, "candu_dev", s.Schema)
	require.Equal(t, cfg.Warehouse.URL, s.Interactions.URL)
	require.Equal(t, config.Table{Schema: "public", Name: "candu_interactions"}, s.Interactions.Table)
	require.Equal(t, 15*time.Minute, s.Lookback)
	require.Equal(t, 5000, s.PageSize)
	require.Equal(t, 1000, cfg.Segment.BatchSize)
	require.Equal(t, 1000, cfg.Segment.MaxEventsPerSecond)
	require.Equal(t, "https://api.segment.io", cfg.Segment.Endpoint)
	require.Equal(t, "***", s.WriteKey.String())
}

func TestParse_AllKeys(t *testing.T) {
	t.Parallel()
	secretFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(secretFile, []byte("from-file\n"), 0o600))
	services := filepath.Join(t.TempDir(), "services")
	require.NoError(t, os.WriteFile(services, []byte("ntfy://a\n\nslack://b\n"), 0o600))
	cfg, err := config.Parse("x.yaml", []byte(`
warehouse: {url: "host=db user=x password=hunter2", migrate_url: postgres://direct/db, readers: [analysts, "b i"]}
segment: {endpoint: "http://127.0.0.1:8320/", batch_size: 250, concurrency: 8, max_events_per_second: 0, retry_for: 1d2h}
sources:
  - nickname: "Candu Prod (EU)"
    write_key_file: `+secretFile+`
    schedule: "15 3 * * 1-5"
    timezone: Europe/Berlin
    message_namespace: 6f1c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e
    interactions: {url: "${EXPORT}", table: '"My Schema".rows', columns: {id: Key}, kinds: {view: [v, V], interaction: i}}
    start_at: 2026-03-29
    lookback: 0s
    page_size: 1
    integrations: {All: "${ALL}", Mixpanel: {a: 1, b: ["x-${ALL}", 1.5, ~, true], c: {d: "true"}}, Customer.io: true}
    max_rejected: 100
  - {nickname: B, write_key: "a$${b}", schema: other}
  - {nickname: C, write_key: c, max_rejected: "${SHARE}", interactions: {kinds: "${KINDS}"}}
http: {listen: "[::1]:9000", user: operator, password_file: `+secretFile+`}
alerts: {urls_file: `+services+`}
`), environment(map[string]string{"EXPORT": "postgres://export/x: {y}", "ALL": "false", "SHARE": "2.5%", "KINDS": "by_event_name"}))
	require.NoError(t, err)
	s := cfg.Sources[0]
	require.Equal(t, "candu_prod_eu", s.Schema)
	require.Equal(t, "from-file", s.WriteKey.Reveal())
	require.Equal(t, "postgres://export/x: {y}", s.Interactions.URL.Reveal(), "a variable's value is no YAML")
	require.Equal(t, config.Table{Schema: "My Schema", Name: "rows"}, s.Interactions.Table)
	require.Equal(t, []string{"i"}, s.Interactions.Kinds.Interaction)
	require.Equal(t, map[string]string{"id": "Key"}, s.Interactions.Columns)
	require.Equal(t, map[string]any{
		"All": false, "Customer.io": true,
		"Mixpanel": map[string]any{"a": uint64(1), "b": []any{"x-false", 1.5, nil, true}, "c": map[string]any{"d": "true"}},
	}, s.Integrations)
	require.Equal(t, "2026-03-28T23:00:00Z", s.StartAt.At.UTC().Format(time.RFC3339))
	require.Equal(t, "15 3 * * 1-5 Europe/Berlin", s.Schedule.String(), "wherever timezone stands")
	require.Equal(t, 26*time.Hour, cfg.Segment.RetryFor)
	require.Equal(t, time.UTC, cfg.Sources[1].Location)
	require.Equal(t, config.Kinds{View: []string{"view"}, Interaction: []string{"interaction"}}, cfg.Sources[1].Interactions.Kinds)
	require.Equal(t, cfg.Warehouse.URL, cfg.Sources[1].Interactions.URL)
	require.Equal(t, config.Kinds{ByEventName: true}, cfg.Sources[2].Interactions.Kinds)
	require.Equal(t, "100 20% 2.5%", fmt.Sprint(s.MaxRejected, cfg.Sources[1].MaxRejected, cfg.Sources[2].MaxRejected))
	require.Equal(t, "from-file", cfg.HTTP.Password.Reveal())
	require.Len(t, cfg.Alerts.URLs, 2)
	require.Equal(t, "slack://b", cfg.Alerts.URLs[1].Reveal())
	require.Equal(t, "http://127.0.0.1:8320", cfg.Segment.Endpoint)
	require.Equal(t, "a${b}", cfg.Sources[1].WriteKey.Reveal())
	require.Equal(t, "***", cfg.Warehouse.URL.String())
	require.Equal(t, "postgres://direct/db", cfg.Warehouse.MigrateURL.Reveal())

	_, err = cfg.Select([]string{"b"})
	require.ErrorContains(t, err, `no source "b"`)
	require.Contains(t, fault.HintOf(err), "Did you mean B?")
}

// One write key and one export, by whatever URL, would send each row twice.
func TestParse_SourcesThatDoubleOneAnother(t *testing.T) {
	t.Parallel()
	for other, doubles := range map[string]bool{
		"write_key: k": true, "write_key: ' k '": true, "write_key: j": false, "write_key: k, interactions: {table: other}": false,
		`write_key: k, interactions: {url: "host=db dbname=w user=reader", table: candu_interactions}`: true,
		`write_key: k, interactions: {url: "postgresql://reader:x@db:5432/w?sslmode=require"}`:         true,
		`write_key: k, interactions: {url: "postgres://db/other"}`:                                     false,
	} {
		_, err := config.Parse("x.yaml", []byte("warehouse: {url: postgres://loader@db/w}\nsources:\n- {nickname: A, write_key: k}\n- {nickname: B, "+other+"}\n"), environment(nil))
		if !doubles {
			require.NoError(t, err, other)
			continue
		}
		require.ErrorContains(t, err, `x.yaml:4: sources[1]: "B" and "A" (line 3) have one write key and one export, public.candu_interactions`, other)
	}
}

func TestMaxRejected(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", "-1", "-1%", "101%", "NaN%", "inf%", "20 %", "1.5", "%"} {
		_, err := config.ParseMaxRejected(text)
		require.Error(t, err, text)
	}
	for _, c := range []struct {
		text            string
		rejected, fresh int64
		exceeded        bool
	}{
		{"20%", 4, 20, false},
		{"20%", 5, 20, true},
		{"20%", 19, 19, false}, // Too few to judge.
		{"20%", 0, 1000, false},
		{"0%", 1, 20, true},
		{"100%", 1000, 1000, false},
		{"3", 3, 3, false},
		{"3", 4, 4, true},
		{"0", 0, 9, false},
		{"0", 1, 1, true},
	} {
		allowed, err := config.ParseMaxRejected(c.text)
		require.NoError(t, err)
		require.Equal(t, c.exceeded, allowed.Exceeded(c.rejected, c.fresh), "%+v", c)
	}
}

func TestSchemaName(t *testing.T) {
	t.Parallel()
	for nickname, want := range map[string]string{
		"Candu_Prod": "candu_prod", "Candu Prod (EU)": "candu_prod_eu", "3doctors": "_3doctors", "__x__": "x", "a--b": "a_b",
		"Café Événement": "caf_v_nement", strings.Repeat("ab", 40): strings.Repeat("ab", 23),
	} {
		name, err := config.SchemaName(nickname)
		require.NoError(t, err)
		require.Equal(t, want, name, nickname)
	}
	for _, nickname := range []string{"", "日本語", "___", "$$$"} {
		_, err := config.SchemaName(nickname)
		require.Error(t, err, nickname)
	}
}

func TestSchemaName_IsAnIdentifier(t *testing.T) {
	t.Parallel()
	identifier := regexp.MustCompile(`^[a-z_][a-z0-9_]{0,45}$`)
	rapid.Check(t, func(t *rapid.T) {
		nickname := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9_ .()-]{0,70}`)).Draw(t, "nickname")
		name, err := config.SchemaName(nickname)
		if err != nil {
			return
		}
		require.Regexp(t, identifier, name)
		again, err := config.SchemaName(name)
		require.NoError(t, err)
		require.Equal(t, name, again, "idempotent")
	})
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(f, err)
	for _, file := range append(files, "../../config.yaml") {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := config.Parse("fuzz.yaml", text, environment(nil))
		require.Equal(t, err == nil, cfg != nil)
	})
}
