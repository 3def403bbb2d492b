// Package config reads config.yaml: strictly, and with all that is wrong at
// once, each with its line and what to do about it.
package config

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/schedule"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// The hosts of Segment's US region.
const (
	trackingHost = "https://api.segment.io"
	cdnHost      = "https://cdn.segment.com"
)

// Config is a configuration without a fault in it: defaults are filled in,
// variables expanded, secrets read. The tags of its fields are explained at decoder.
type Config struct {
	// Path of the file.
	Path      string
	Warehouse Warehouse `yaml:"warehouse" required:"{url: \"${DATABASE_URL}\"}"`
	Segment   Segment   `yaml:"segment"`
	Sources   []*Source `yaml:"sources" required:"[{nickname: Candu_Prod, write_key: \"${CANDU_PROD_WRITE_KEY}\"}]"`
	HTTP      HTTP      `yaml:"http"`
	Alerts    Alerts    `yaml:"alerts"`
}

// Warehouse is the Postgres that holds the mirrored schemas.
type Warehouse struct {
	URL secret.URL `yaml:"url" file:"url_file" required:"${DATABASE_URL}"`
	// MigrateURL reaches the server without a transaction pooler in between; default URL.
	MigrateURL secret.URL `yaml:"migrate_url" file:"migrate_url_file"`
	// Readers are roles that may read the mirror.
	Readers []string `yaml:"readers"`
}

// Segment says how to deliver.
type Segment struct {
	// Endpoint is scheme and host of the tracking API.
	Endpoint string `yaml:"endpoint" trim:"true" default:"https://api.segment.io"`
	// CDN is scheme and host of the service that knows write keys, "" if nobody is asked: the file
	// says none, or has this machine as Endpoint and nothing here.
	CDN                string        `yaml:"cdn_endpoint" trim:"true"`
	BatchSize          int           `yaml:"batch_size" default:"1000" unit:"events" min:"1" max:"2500"`
	Concurrency        int           `yaml:"concurrency" default:"4" unit:"batches in flight" min:"1" max:"64"`
	MaxEventsPerSecond int           `yaml:"max_events_per_second" default:"1000" unit:"events a second (0 = no limit)" min:"0" max:"2147483647"`
	RetryFor           time.Duration `yaml:"retry_for" default:"15m" min:"0s"`
}

// Source is one Segment source and its export.
type Source struct {
	// Line of the source in the file.
	Line     int
	Nickname string        `yaml:"nickname" required:"Candu_Prod"`
	WriteKey secret.String `yaml:"write_key" file:"write_key_file" trim:"true" required:"${CANDU_PROD_WRITE_KEY}   (in Segment: Connections > Sources > your source > Settings > API Keys)"`
	// Schema is made of the nickname if the file gives none.
	Schema string `yaml:"schema"`
	// Location is the time zone of dates on the command line, and of what follows.
	Location *time.Location `yaml:"timezone" default:"UTC"`
	StartAt  StartAt        `yaml:"start_at"`
	// Schedule is nil if the file gives none.
	Schedule *schedule.Schedule `yaml:"schedule"`
	// CatchUp is how late a slot may still become a run.
	CatchUp time.Duration `yaml:"catch_up" default:"24h" min:"0s"`
	// RunDeadline ends a scheduled run that takes longer; 0 = none.
	RunDeadline time.Duration `yaml:"run_deadline" min:"1s"`
	// Verify is when serve verifies.
	Verify Verify `yaml:"verify"`
	// MessageNamespace is uuid.Nil if the file gives none.
	MessageNamespace uuid.UUID     `yaml:"message_namespace"`
	Interactions     Interactions  `yaml:"interactions"`
	Lookback         time.Duration `yaml:"lookback" default:"15m" min:"0s"`
	PageSize         int           `yaml:"page_size" default:"5000" unit:"rows" min:"1" max:"50000"`
	// MaxRejected stops a run that would reject more.
	MaxRejected MaxRejected `yaml:"max_rejected" default:"20%"`
	// Integrations goes into every event; nil leaves it out.
	Integrations map[string]any `yaml:"integrations"`
}

// Verify says when serve verifies a source, and how much of it.
type Verify struct {
	// Schedule is nil if serve does not.
	Schedule *schedule.Schedule `yaml:"schedule"`
	// Last is how far back, by occurred_at. A verification of less proves nothing of the source.
	Last time.Duration `yaml:"last" default:"35d" min:"1s"`
}

// Interactions says where the rows are.
type Interactions struct {
	// URL is the warehouse's if the file gives none.
	URL   secret.URL `yaml:"url" file:"url_file"`
	Table Table      `yaml:"table" default:"public.candu_interactions"`
	// Columns maps canonical names to the table's, for the names that were given.
	Columns map[string]string `yaml:"columns"`
	Kinds   Kinds             `yaml:"kinds"`
	// SearchPath is for functions behind the export that rely on the session's.
	SearchPath []string `yaml:"search_path"`
	// Zone is that of times without one.
	Zone Zone `yaml:"timezone" default:"UTC"`
}

// Zone is the name of a time zone, as the tz database has it.
type Zone string

// Table is a relation's name, unquoted.
type Table struct{ Schema, Name string }

// Kinds are the spellings of the column kind.
type Kinds struct {
	// ByEventName says that there is no such column, or that it says nothing: a row without an
	// event name is a view. The file says so in place of the spellings.
	ByEventName bool
	View        []string `yaml:"view" default:"view"`
	Interaction []string `yaml:"interaction" default:"interaction"`
}

// StartAt says where the first run of a source begins: when it begins, at a moment, or, as its
// zero value, at the beginning of the export.
type StartAt struct {
	Now bool
	At  time.Time
}

// HTTP is where serve answers, and to whom.
type HTTP struct {
	// Listen is HOST:PORT.
	Listen string `yaml:"listen" default:"127.0.0.1:8321"`
	// User and Password are asked for if they are set.
	User     string        `yaml:"user"`
	Password secret.String `file:"password_file"`
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
	URLs []secret.String `yaml:"urls" file:"urls_file" trim:"true"`
	// LagOver is the lag from which on a source is late; 0 = it never is.
	LagOver time.Duration `yaml:"lag_over" min:"1s"`
	// PingURL is asked with GET after each run that succeeded, "" = none.
	PingURL secret.String `yaml:"ping_url" file:"ping_url_file" trim:"true"`
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
	d := &decoder{path: path, env: env, lines: map[string]int{}}
	config := &Config{Path: path}
	d.decode(text, config)
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
	var known []string
	for _, s := range c.Sources {
		known = append(known, s.Nickname)
	}
	var selected []*Source
	for _, nickname := range nicknames {
		i := slices.Index(known, nickname)
		if i < 0 {
			return nil, fault.New(fault.Config, "no source %q in %s", nickname, c.Path).
				WithHint("%sKnown: %s.", suggest(nickname, known), strings.Join(known, ", "))
		}
		selected = append(selected, c.Sources[i])
	}
	return selected, nil
}

// SharesKey returns the nicknames of the other sources that have a source's write key.
func (c *Config) SharesKey(s *Source) []string {
	var others []string
	for _, other := range c.OthersOfKey(s) {
		others = append(others, other.Nickname)
	}
	return others
}

// OthersOfKey returns the other sources that have a source's write key.
func (c *Config) OthersOfKey(s *Source) []*Source {
	return slices.DeleteFunc(slices.Clone(c.Sources), func(other *Source) bool { return other == s || other.WriteKey != s.WriteKey })
}
