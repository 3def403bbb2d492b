package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/config"
)

// disguises are what a secret comes in, out of files and variables.
var disguises = []string{"%s", "%s\n", " %s\t\r\n", "\ufeff%s", "\ufeff%s\r\n", `"%s"`, "'%s'\n", "\ufeff\" %s \"\n", "\n\n%s\u00a0", "\u2028%s\u0085"}

func TestParse_TrimsSecrets(t *testing.T) {
	t.Parallel()
	const key, url, service, ping = "abcDEF123", "postgres://db/x", "ntfy://a", "https://ping.example.com/1"
	for _, disguise := range disguises {
		write := func(value string) string {
			name := filepath.Join(t.TempDir(), "secret")
			require.NoError(t, os.WriteFile(name, fmt.Appendf(nil, disguise, value), 0o600))
			return name
		}
		vars := map[string]string{}
		for name, value := range map[string]string{"KEY": key, "URL": url, "SERVICE": service, "PING": ping, "ENDPOINT": "http://127.0.0.1:8320"} {
			vars[name] = fmt.Sprintf(disguise, value)
		}
		for _, text := range []string{`
warehouse: {url: "${URL}", migrate_url: "${URL}"}
segment: {endpoint: "${ENDPOINT}", cdn_endpoint: "${ENDPOINT}"}
sources: [{nickname: A, write_key: "${KEY}", interactions: {url: "${URL}"}}]
alerts: {urls: ["${SERVICE}"], ping_url: "${PING}"}
`, fmt.Sprintf(`
warehouse: {url_file: %[1]q, migrate_url_file: %[1]q}
segment: {endpoint: "http://127.0.0.1:8320", cdn_endpoint: "http://127.0.0.1:8320"}
sources: [{nickname: A, write_key_file: %[2]q, interactions: {url_file: %[1]q}}]
alerts: {urls_file: %[3]q, ping_url_file: %[4]q}
`, write(url), write(key), write(service), write(ping))} {
			cfg, err := config.Parse("x.yaml", []byte(text), environment(vars))
			require.NoError(t, err, "%q", disguise)
			require.Equal(t, key, cfg.Sources[0].WriteKey.Reveal(), "%q", disguise)
			require.Equal(t, url, cfg.Warehouse.URL.Reveal(), "%q", disguise)
			require.Equal(t, url, cfg.Warehouse.MigrateURL.Reveal(), "%q", disguise)
			require.Equal(t, url, cfg.Sources[0].Interactions.URL.Reveal(), "%q", disguise)
			require.Equal(t, "http://127.0.0.1:8320", cfg.Segment.Endpoint, "%q", disguise)
			require.Equal(t, "http://127.0.0.1:8320", cfg.Segment.CDN, "%q", disguise)
			require.Equal(t, service, cfg.Alerts.URLs[0].Reveal(), "%q", disguise)
			require.Equal(t, ping, cfg.Alerts.PingURL.Reveal(), "%q", disguise)
		}
	}
}

// What no trimming mends is told with its line and without its value.
func TestParse_RefusesWhatIsNoWriteKey(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"":                             "x.yaml:4: sources[0].write_key: is empty",
		`""`:                           "x.yaml:4: sources[0].write_key: is empty",
		"hunter2 hunter2":              "x.yaml:4: sources[0].write_key: is no write key: its character 8 is a blank or line end",
		"hunter2\nhunter2":             "x.yaml:4: sources[0].write_key: is no write key: its character 8 is a blank or line end",
		"hunter2\x1b[0m":               "x.yaml:4: sources[0].write_key: is no write key: its character 8 is a control character",
		"hunter2\u200b":                "x.yaml:4: sources[0].write_key: is no write key: its character 8 is not ASCII",
		"hünter2":                      "x.yaml:4: sources[0].write_key: is no write key: its character 2 is not ASCII",
		"\xff\xfeh\x00u\x00n\x00t\x00": "x.yaml:4: sources[0].write_key: is no write key: its character 1 is no text (is the file UTF-16?)",
	} {
		text := "warehouse: {url: postgres://db/x}\nsources:\n- nickname: A\n  write_key: \"${KEY}\"\n"
		_, err := config.Parse("x.yaml", []byte(text), environment(map[string]string{"KEY": value}))
		require.ErrorContains(t, err, want, "%q", value)
		require.NotContains(t, err.Error(), "unter2")
	}
	name := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(name, []byte("hunter2 hunter2\n"), 0o600))
	_, err := config.Parse("x.yaml", []byte("warehouse: {url: postgres://db/x}\nsources:\n- nickname: A\n  write_key_file: "+name+"\n"), environment(nil))
	require.ErrorContains(t, err, "x.yaml:4: sources[0].write_key_file: is no write key: its character 8 is a blank or line end")

	// A password that a variable brings in the middle of a URL.
	_, err = config.Parse("x.yaml", []byte("warehouse: {url: \"postgres://u:${PW}@db/x\"}\nsources: [{nickname: A, write_key: k}]\n"), environment(map[string]string{"PW": "hunter2\n"}))
	require.ErrorContains(t, err, "x.yaml:1: warehouse.url: has a line end or another control character in it")
	require.NotContains(t, err.Error(), "hunter2")
}
