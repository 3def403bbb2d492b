package main

import (
	"flag"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// offline is a config whose servers do not exist.
const offline = `
warehouse: {url: "postgres://nobody@127.0.0.1:1/nowhere"}
sources:
  - {nickname: Candu_Prod, write_key: secret-key, schedule: "@daily"}
  - {nickname: Candu Prod (EU), write_key: other-key, schema: candu_eu}
`

func TestDBT(t *testing.T) {
	t.Parallel()
	b := &testBundle{}
	b.write(t, offline)
	code, out, log := b.call(t, "dbt", "Candu_Prod")
	require.Equal(t, 0, code, log)
	const golden = "testdata/sources.yml"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(out), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), out, "go test -update writes it anew")
}

func TestDBT_Parses(t *testing.T) {
	t.Parallel()
	b := &testBundle{}
	b.write(t, offline)
	code, out, log := b.call(t, "dbt")
	require.Equal(t, 0, code, log)
	var file struct {
		Version int
		Sources []struct {
			Name   string
			Schema string
			Tables []struct {
				Name          string
				Description   string
				LoadedAtField string `yaml:"loaded_at_field"`
				Freshness     map[string]struct {
					Count  int
					Period string
				}
				Columns []struct {
					Name        string
					Description string
					Tests       []any
				}
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(out), &file))
	require.Equal(t, 2, file.Version)
	require.Len(t, file.Sources, 2)
	require.Equal(t, "candu_eu", file.Sources[1].Schema)
	for i, source := range file.Sources {
		last := source.Tables[len(source.Tables)-1]
		require.Equal(t, "caught_up_at", last.LoadedAtField)
		require.Equal(t, []int{48, 24}[i], last.Freshness["warn_after"].Count, "two slots of a daily schedule, or the least")
		var names []string
		for _, table := range source.Tables {
			names = append(names, table.Name)
			require.NotEmpty(t, table.Description, table.Name)
			for _, column := range table.Columns {
				require.NotEmpty(t, column.Description, "%s.%s", table.Name, column.Name)
				switch column.Name {
				case "id":
					require.Equal(t, []any{"unique", "not_null"}, column.Tests)
				case "name":
					require.Equal(t, []any{map[string]any{"accepted_values": map[string]any{"values": []any{"tutorial.view"}}}}, column.Tests)
				}
			}
		}
		require.Equal(t, []string{"tracks", "tutorial_interaction", "screens", "tutorial_view", "tutorial_daily", "loader_freshness"}, names)
	}
}
