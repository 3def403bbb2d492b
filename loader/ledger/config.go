package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/candu-loader/candu-loader/queries"
)

// alternatesFor is for how long it counts that a source's configuration changed back.
const alternatesFor = 24 * time.Hour

// Configs are the configurations that a source was last run with.
type Configs struct {
	// Hash is the last run's, Before the one that another run had before it; "" = none is known.
	Hash, Before string
	// Host and HostBefore are whose they are.
	Host, HostBefore string
	// AlternatedAt is when a run last had the one before again; nil = none did.
	AlternatedAt *time.Time
	// Mapping says how the last run read rows, in JSON; "" = nobody knows.
	Mapping string
}

// Alternate reports whether a run had the configuration before again of late: two machines have
// different ones, or somebody took a change back.
func (c Configs) Alternate(now time.Time) bool {
	return c.AlternatedAt != nil && now.Sub(*c.AlternatedAt) < alternatesFor
}

// Words says that they alternate.
func (c Configs) Words() string {
	whose := "on host " + c.Host
	if c.HostBefore != c.Host && c.HostBefore != "" {
		whose = "between hosts " + c.HostBefore + " and " + c.Host
	}
	return fmt.Sprintf("the configuration of this source goes back and forth %s, last at %s: do two machines have different ones?",
		whose, c.AlternatedAt.UTC().Format(time.RFC3339))
}

func configsOf(s queries.LoaderState) Configs {
	return Configs{
		Hash: orEmpty(s.ConfigHash), Before: orEmpty(s.ConfigHashBefore), Host: orEmpty(s.ConfigHost), HostBefore: orEmpty(s.ConfigHostBefore),
		AlternatedAt: s.ConfigAlternatedAt, Mapping: string(s.ConfigMapping),
	}
}

// SetConfig notes with which configuration the run goes. back is true if it is the one before the
// last, and other the host whose the last one is.
func (r *Run) SetConfig(ctx context.Context, hash, mapping string) (other string, back bool, err error) {
	if hash == r.State.Configs.Hash {
		return "", false, nil
	}
	rows, err := ask(ctx, r.ledger.writing(), "noting the configuration", r.ledger.q.ConfigSet, queries.ConfigSetParams{Hash: hash, Mapping: []byte(mapping), Host: hostname(), Holder: r.holder})
	if err != nil || len(rows) == 0 {
		return "", false, err // A lost lease is found where something is recorded.
	}
	return rows[0].HostBefore, rows[0].Alternated, nil
}
