package lineage_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/lineage"
	"github.com/candu-loader/candu-loader/loader/schedule"
)

// What decides which rows are sent, and when, tells configurations apart; secrets and ways to a
// database don't.
func TestHash(t *testing.T) {
	t.Parallel()
	base := func() *config.Source {
		hourly, err := schedule.Parse("@hourly", time.UTC)
		require.NoError(t, err)
		return &config.Source{Nickname: "A", Location: time.UTC, Schedule: hourly, Lookback: time.Minute}
	}
	plain := lineage.Hash(base())
	for name, change := range map[string]func(*config.Source){
		"schedule": func(s *config.Source) { s.Schedule = nil },
		"timezone": func(s *config.Source) { s.Location = time.FixedZone("X", 3600) },
		"lookback": func(s *config.Source) { s.Lookback = time.Hour },
		"columns":  func(s *config.Source) { s.Interactions.Columns = map[string]string{"id": "x"} },
		"table":    func(s *config.Source) { s.Interactions.Table.Name = "x" },
		"kinds":    func(s *config.Source) { s.Interactions.Kinds.View = []string{"x"} },
		"start":    func(s *config.Source) { s.StartAt.Now = true },
		"catch_up": func(s *config.Source) { s.CatchUp = time.Hour },
	} {
		src := base()
		change(src)
		require.NotEqual(t, plain, lineage.Hash(src), name)
	}
	for name, change := range map[string]func(*config.Source){
		"write key": func(s *config.Source) { s.WriteKey = "x" },
		"url":       func(s *config.Source) { s.Interactions.URL = "x" },
		"line":      func(s *config.Source) { s.Line = 7 },
	} {
		src := base()
		change(src)
		require.Equal(t, plain, lineage.Hash(src), name)
	}
}
