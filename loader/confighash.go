package loader

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/source"
)

// ConfigHash tells configurations of a source from one another: of what decides which rows are
// read, when, and what is sent of them. No secret is in it, and no URL: machines may reach one database
// by different ways.
func ConfigHash(src *config.Source) string {
	slots := ""
	if src.Schedule != nil {
		slots = src.Schedule.String()
	}
	facts := map[string]any{
		"schedule": slots, "timezone": src.Location.String(), "catch_up": src.CatchUp, "start_now": src.StartAt.Now,
		"start_at": src.StartAt.At.UTC().Format(time.RFC3339Nano), "lookback": src.Lookback, "table": src.Interactions.Table, "columns": src.Interactions.Columns,
		"kinds": src.Interactions.Kinds, "max_rejected": src.MaxRejected.String(), "integrations": src.Integrations,
	}
	if path := src.Interactions.SearchPath; len(path) > 0 {
		facts["search_path"] = path // Else the hash is what it was before there was the key.
	}
	if zone := src.Interactions.Zone; zone != source.DefaultZone {
		facts["interactions_timezone"] = zone
	}
	text, err := json.Marshal(facts)
	if err != nil {
		return "" // It was read from YAML, and can be written.
	}
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:])
}

// noteConfig notes with which configuration the run goes, and warns if two take turns.
func (s *session) noteConfig() error {
	return postgres.Retry(s.hard, openTimeout, s.again, func(ctx context.Context) error {
		other, back, err := s.run.SetConfig(ctx, ConfigHash(s.src), mappingOf(s.src).String())
		if err == nil && back {
			s.log.Warn("the configuration of this source goes back and forth: do two machines have different ones?", "other_host", other)
		}
		return err
	})
}
