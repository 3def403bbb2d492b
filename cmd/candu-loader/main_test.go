package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/fakesegment"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/loadertest"
)

func TestMain(m *testing.M) { os.Exit(loadertest.Main(m)) }

// testBundle is the program with a config of its own.
type testBundle struct {
	config string
	url    string
	fake   *fakesegment.Server
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	url := loadertest.Database(t)
	db := loadertest.Pool(t, url)
	export := loadertest.Export{Rows: 50}
	require.NoError(t, export.Create(t.Context(), db))
	require.NoError(t, export.Fill(t.Context(), db))
	fake, endpoint := loadertest.Segment(t, fakesegment.Options{WriteKeys: []string{"secret-key"}})
	b := &testBundle{url: url, fake: fake}
	b.write(t, `
warehouse: {url: "`+url+`"}
segment: {endpoint: "`+endpoint+`", cdn_endpoint: "`+endpoint+`", max_events_per_second: 0}
sources:
  - {nickname: Candu_A, write_key: secret-key, schedule: "@daily"}
  - {nickname: Candu_B, write_key: secret-key, interactions: {table: public.nowhere}}
`)
	return b
}

func (b *testBundle) write(t *testing.T, text string) {
	t.Helper()
	b.config = filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(b.config, []byte(text), 0o600))
}

// call runs a command in process and returns what it prints.
func (b *testBundle) call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, log bytes.Buffer
	a := &app{out: &out, err: &log}
	err := a.execute(context.Background(), append([]string{"--config", b.config}, args...))
	require.NotContains(t, out.String()+log.String(), "secret-key")
	return exitCode(err, 0), out.String(), log.String()
}

func TestCommands(t *testing.T) {
	t.Parallel()
	b := setup(t)

	t.Log("nothing but migrate makes a schema")
	for _, command := range []string{"status", "run", "backfill --from 2026-01-01", "verify", "rejects retry", "check --offline"} {
		code, out, log := b.call(t, append(strings.Fields(command), "Candu_A")...)
		require.Equal(t, 3, code, command)
		require.Contains(t, out+log, "it is not there", command)
		require.Contains(t, out+log, "candu-loader migrate Candu_A. If it was loaded before, ", command)
	}
	code, out, _ := b.call(t, "migrate", "Candu_A", "--dry-run")
	require.Equal(t, 0, code)
	require.Contains(t, out, `create schema "candu_a";`)
	require.Contains(t, out, "create table tracks")

	code, out, _ = b.call(t, "migrate", "Candu_A")
	require.Equal(t, 0, code)
	require.Contains(t, out, "migrated from version 0 to ")

	code, out, log := b.call(t, "run", "Candu_A")
	require.Equal(t, 0, code, log)
	require.Regexp(t, `^Candu_A: succeeded: 50 rows read, 50 sent, 0 already delivered, 0 rejected, 1 batch, 0 retries, \d+\.\d s, [\d,]+ events/s, lag \w+\n$`, out)

	code, out, _ = b.call(t, "migrate", "Candu_A", "--moved", "--key-rotated")
	require.Equal(t, 0, code)
	require.Regexp(t, `^Candu_A: --key-rotated: nothing to answer, .+\nCandu_A: --moved: nothing to answer, .+\n$`, out)

	t.Log("one source's trouble does not stop the others")
	code, out, log = b.call(t, "run", "--json")
	require.Equal(t, 3, code)
	var result struct {
		Sources []struct {
			Source string
			Status string
			Error  *struct{ Kind, Text, Hint string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(out), &result), out)
	require.Equal(t, "succeeded", result.Sources[0].Status)
	require.Equal(t, "precondition", result.Sources[1].Error.Kind)
	require.Contains(t, log, "hint: Check interactions.url")

	code, out, _ = b.call(t, "status", "Candu_A")
	require.Equal(t, 0, code)
	for _, want := range []string{"watermark", "complete until", "last runs", "#2 manual succeeded", "rejects        none", "@daily (UTC), next "} {
		require.Contains(t, out, want)
	}
	code, out, log = b.call(t, "status")
	require.Equal(t, 3, code)
	require.Contains(t, out, "Candu_B: state unknown, see the error\n")
	require.Equal(t, 1, strings.Count(out+log, "it is not there"), "an error is said once")
	code, out, _ = b.call(t, "status", "--json")
	require.Equal(t, 3, code, "the other source has no schema")
	require.True(t, json.Valid([]byte(out)))

	code, out, _ = b.call(t, "check", "Candu_A")
	require.Equal(t, 0, code, out)
	require.Contains(t, out, "write_key_known")
	require.Contains(t, out, "safe_point_visible")
	code, out, _ = b.call(t, "check", "--offline", "--json")
	require.Equal(t, 3, code)
	require.Contains(t, out, `"code": "export_unusable"`)

	code, out, _ = b.call(t, "rejects", "list", "Candu_A")
	require.Equal(t, 0, code)
	require.Equal(t, "Candu_A: no rejects\n", out)
	code, _, _ = b.call(t, "rejects", "retry", "Candu_A")
	require.Equal(t, 0, code)
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"unknown command":  {[]string{"lood"}, "unknown command"},
		"misspelled child": {[]string{"rejects", "lst", "Candu_A"}, "unknown command \"lst\" for \"candu-loader rejects\"\nhint: candu-loader rejects --help\n"},
		"unknown child":    {[]string{"alert", "foo"}, `unknown command "foo" for "candu-loader alert"`},
		"unknown shell":    {[]string{"completion", "foo"}, `unknown command "foo" for "candu-loader completion"`},
		"empty range":      {[]string{"verify", "Candu_A", "--from", "2130-01-01"}, "--from 2130-01-01 is not before now\nhint: candu-loader verify --help\n"},
		"no id":            {[]string{"explain", "Candu_A"}, "explain needs NICKNAME and ID, got 1 argument\n"},
		"an id too many":   {[]string{"explain", "Candu_A", "1", "2"}, "explain needs NICKNAME and ID, got 3 arguments\n"},
		"unknown flag":     {[]string{"run", "--fast"}, "unknown flag: --fast\nhint: candu-loader run --help\n"},
		"unknown nickname": {[]string{"run", "Candu_C"}, "Did you mean Candu_A?"},
		"negative limit":   {[]string{"run", "--limit", "-1"}, "--limit -1"},
		"log level":        {[]string{"run", "--log-level", "loud"}, "expected debug, info, warn or error\nhint: candu-loader run --help\n"},
		"no argument":      {[]string{"rejects", "list"}, "rejects list needs NICKNAME, got 0 arguments\nhint: candu-loader rejects list --help\n"},
		"unknown reason":   {[]string{"rejects", "list", "Candu_A", "--reason", "x"}, "expected one of missing_identity"},
		"all":              {[]string{"backfill", "Candu_A", "--from", "2026-01-01", "--integrations", `{"all":false}`}, `--integrations: key "all": unknown key. Did you mean All?`},
		"a word":           {[]string{"backfill", "Candu_A", "--from", "2026-01-01", "--integrations", `{"All":"false"}`}, `key "All": expected true, false or an object`},
		"null":             {[]string{"backfill", "Candu_A", "--from", "2026-01-01", "--integrations", `null`}, `--integrations "null": expected JSON`},
		"two objects":      {[]string{"backfill", "Candu_A", "--from", "2026-01-01", "--integrations", `{"All":false}{}`}, `expected JSON such as`},
		"no file":          {[]string{"--config", "/nonexistent.yaml", "run"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, log := b.call(t, c.args...)
			require.Equal(t, 2, code, log)
			require.Contains(t, log, c.want)
		})
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	t.Parallel()
	root := (&app{}).buildRootCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "help" && cmd.Name() != "completion" {
			require.True(t, strings.HasPrefix(cmd.Example, "  candu-loader "+cmd.Name()), cmd.Name())
		}
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	kinds := func(kinds ...fault.Kind) error {
		var errs []error
		for _, kind := range kinds {
			errs = append(errs, fault.New(kind, "x"))
		}
		return errors.Join(errs...)
	}
	require.Equal(t, 0, exitCode(nil, 0))
	require.Equal(t, 2, exitCode(kinds(fault.Config), 0))
	require.Equal(t, 1, exitCode(kinds(fault.Failed), 0))
	require.Equal(t, 1, exitCode(kinds(fault.Retryable), 0))
	require.Equal(t, 4, exitCode(kinds(fault.Difference), 0))
	require.Equal(t, 5, exitCode(kinds(fault.Busy), 0))
	require.Equal(t, 1, exitCode(kinds(fault.Busy, fault.Failed), 0))
	require.Equal(t, 3, exitCode(kinds(fault.Busy, fault.Failed, fault.Precondition), 0))
	require.Equal(t, 143, exitCode(kinds(fault.Interrupted, fault.Failed), syscall.SIGTERM))
	require.Equal(t, 130, exitCode(kinds(fault.Interrupted), syscall.SIGINT))
}
