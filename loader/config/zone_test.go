package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/config"
)

// The zone of times without one is one that Postgres knows too.
func TestParse_ZoneOfTheExport(t *testing.T) {
	t.Parallel()
	parse := func(zone string) (*config.Config, error) {
		return config.Parse("x.yaml", []byte("warehouse: {url: postgres://localhost/x}\nsources: [{nickname: A, write_key: k, interactions: {timezone: \""+zone+"\"}}]\n"), nil)
	}
	for zone, want := range map[string]config.Zone{"": "UTC", "America/New_York": "America/New_York"} {
		c, err := parse(zone)
		require.NoError(t, err)
		require.Equal(t, want, c.Sources[0].Interactions.Zone)
	}
	for zone, want := range map[string]string{
		"America/New_Yrok": `interactions.timezone: unknown time zone "America/New_Yrok"`, "Local": `interactions.timezone: time zone "Local" is another one on each machine`,
		"+02:00": `unknown time zone "+02:00"`, "../etc/passwd": "unknown time zone",
	} {
		_, err := parse(zone)
		require.ErrorContains(t, err, want)
	}
}

// A year of two digits is a typo that would load all there is.
func TestParse_StartBefore1970(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"0026-01-01", "1969-12-31T23:59:59Z"} {
		_, err := config.Parse("x.yaml", []byte("warehouse: {url: postgres://x@db/w}\nsources: [{nickname: A, write_key: k, start_at: "+at+"}]\n"), environment(nil))
		require.ErrorContains(t, err, "lies before 1970")
	}
}
