// Package config reads config.yaml: strictly, and with all that is wrong at
// once, each with its line and what to do about it.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/schedule"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// Defaults of the keys that have one.
const (
	DefaultEndpoint           = "https://api.segment.io"
	DefaultCDN                = "https://cdn.segment.com"
	DefaultBatchSize          = 1000
	DefaultConcurrency        = 4
	DefaultMaxEventsPerSecond = 1000
	DefaultRetryFor           = 15 * time.Minute
	DefaultLookback           = 15 * time.Minute
	DefaultPageSize           = 5000
	DefaultCatchUp            = 24 * time.Hour
	DefaultListen             = "127.0.0.1:8321"
	defaultTable              = "public.candu_interactions"
)

// Config is a configuration without a fault in it: defaults are filled in,
// variables expanded, secrets read.
type Config struct {
	// Path of the file.
	Path      string
	Warehouse Warehouse
	Segment   Segment
	Sources   []*Source
	HTTP      HTTP
	Alerts    Alerts
}

// Warehouse is the Postgres that holds the mirrored schemas.
type Warehouse struct {
	URL secret.URL
	// MigrateURL reaches the server without a transaction pooler in between.
	MigrateURL secret.URL
	// Readers are roles that may read the mirror.
	Readers []string
}

// Segment says how to deliver.
type Segment struct {
	// Endpoint is scheme and host of the tracking API.
	Endpoint string
	// CDN is scheme and host of the service that knows write keys.
	CDN                string
	BatchSize          int
	Concurrency        int
	MaxEventsPerSecond int // 0 = no limit
	RetryFor           time.Duration
}

// Source is one Segment source and its export.
type Source struct {
	// Line of the source in the file.
	Line     int
	Nickname string
	WriteKey secret.String
	Schema   string
	// Schedule is nil if the file gives none.
	Schedule *schedule.Schedule
	// CatchUp is how late a slot may still become a run.
	CatchUp time.Duration
	// RunDeadline ends a scheduled run that takes longer; 0 = none.
	RunDeadline time.Duration
	// Location is the time zone of the schedule and of dates on the command line.
	Location *time.Location
	// MessageNamespace is uuid.Nil if the file gives none.
	MessageNamespace uuid.UUID
	Interactions     Interactions
	StartAt          StartAt
	Lookback         time.Duration
	PageSize         int
	// Integrations goes into every event; nil leaves it out.
	Integrations map[string]any
}

// Interactions says where the rows are.
type Interactions struct {
	URL   secret.URL
	Table Table
	// Columns maps canonical names to the table's, for the names that were given.
	Columns map[string]string
	// Mapped says which canonical names were given.
	Mapped map[string]bool
	Kinds  Kinds
}

// Table is a relation's name, unquoted.
type Table struct{ Schema, Name string }

// Kinds are the spellings of the column kind.
type Kinds struct{ View, Interaction []string }

// StartMode says where the first run of a source begins.
type StartMode uint8

// The modes of StartAt.
const (
	StartBeginning StartMode = iota
	StartNow
	StartDate
)

// StartAt says where the first run of a source begins; At counts for StartDate.
type StartAt struct {
	Mode StartMode
	At   time.Time
}

// HTTP is where serve answers, and to whom.
type HTTP struct {
	// Listen is HOST:PORT.
	Listen string
	// User and Password are asked for if they are set.
	User     string
	Password secret.String
}

// Loopback tells whether only this machine can reach the address.
func (h HTTP) Loopback() bool {
	host, _, err := net.SplitHostPort(h.Listen)
	return err == nil && loopback(host)
}

// Alerts says whom serve tells of changes, and of which.
type Alerts struct {
	// URLs are services in the form of shoutrrr
	// (https://shoutrrr.nickfedor.com); they hold tokens.
	URLs []secret.String
	// LagOver is the lag from which on a source is late; 0 = it never is.
	LagOver time.Duration
	// PingURL is asked with GET after each run that succeeded, "" = none.
	PingURL secret.String
}

// Load reads a file. env looks a variable up, as os.LookupEnv does. Every error
// is of kind [fault.Config]; what is wrong in the file comes as [Problems].
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Config, "reading config %q: no such file", path).
			WithHint("Give another one with --config FILE or $CANDU_LOADER_CONFIG; config.yaml of the repository is a commented example.")
	}
	if err != nil {
		return nil, fault.Wrap(fault.Config, err, "reading config %q", path)
	}
	return Parse(path, text, env)
}

// Parse is Load for a text; path stands in the messages.
func Parse(path string, text []byte, env func(string) (string, bool)) (*Config, error) {
	d := &decoder{path: path, env: env}
	config := d.decode(text)
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, &fault.Error{Kind: fault.Config, Err: d.problems}
	}
	return config, nil
}

// Select returns the sources of those nicknames, or all if there is none.
func (c *Config) Select(nicknames []string) ([]*Source, error) {
	if len(nicknames) == 0 {
		return c.Sources, nil
	}
	var selected []*Source
	for _, nickname := range nicknames {
		source := c.find(nickname)
		if source == nil {
			var known []string
			for _, s := range c.Sources {
				known = append(known, s.Nickname)
			}
			return nil, fault.New(fault.Config, "no source %q in %s", nickname, c.Path).
				WithHint("%sKnown: %s.", suggest(nickname, known), strings.Join(known, ", "))
		}
		selected = append(selected, source)
	}
	return selected, nil
}

func (c *Config) find(nickname string) *Source {
	for _, s := range c.Sources {
		if s.Nickname == nickname {
			return s
		}
	}
	return nil
}

// String names the table as people write it.
func (t Table) String() string { return fmt.Sprintf("%s.%s", t.Schema, t.Name) }
