package loader

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/fault"
	"github.com/candu-loader/candu-loader/loader/human"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/preflight"
	"github.com/candu-loader/candu-loader/loader/secret"
	"github.com/candu-loader/candu-loader/loader/source"
)

// changes are what the configuration says otherwise than what the runs before went by, where that
// is not done by writing it.
func changes(src *config.Source, state ledger.State) []preflight.Finding {
	var found []preflight.Finding
	if text, hint := startChange(src, state); text != "" {
		found = append(found, preflight.Finding{Code: "start_at_changed", Text: text, Hint: hint})
	}
	if text := mappingChange(src, state); text != "" {
		nickname := human.Quote(src.Nickname)
		found = append(found, preflight.Finding{
			Code: "mapping_changed", Text: text + ": rows that were sent or rejected before stay as they were, in Segment and in the mirror",
			Hint: fmt.Sprintf("candu-loader rejects retry %s   tries the rejected ones again. candu-loader verify %[1]s   compares rows as they are read now with what was sent.", nickname),
		})
	}
	return found
}

// startChange says that a start_at was changed after the first run, which alone asks for it.
func startChange(src *config.Source, state ledger.State) (text, hint string) {
	begun := state.StartAt != nil || state.WatermarkAt != nil
	want := startAt(src)
	switch {
	case !begun, src.StartAt.Now && state.StartAt != nil, !src.StartAt.Now && sameTime(want, state.StartAt):
		return "", ""
	}
	nickname := human.Quote(src.Nickname)
	text = fmt.Sprintf("start_at is %s, but the first run began at %s, and that counts", startWords(want, src.StartAt.Now), startWords(state.StartAt, false))
	switch {
	case src.StartAt.Now:
		return text, "Write `start_at: beginning`, as it was."
	case state.StartAt != nil && (want == nil || want.Before(*state.StartAt)):
		text += ": rows exported between the two are not loaded"
		hint = "candu-loader migrate " + nickname + " --start-at   has the next run read them; "
	default:
		text += ": what was exported between the two counts as before"
		hint = "candu-loader migrate " + nickname + " --start-at   leaves them out of verify, and of what is still to be read; "
	}
	return text, hint + "or write " + startWords(state.StartAt, false) + " as before. candu-loader backfill " + nickname + " --from DATE --to DATE   sends a range alone."
}

// startAt is where the configuration has the first run begin; nil = the beginning, or now.
func startAt(src *config.Source) *time.Time {
	if src.StartAt.At.IsZero() {
		return nil
	}
	return &src.StartAt.At
}

// sameTime compares as Postgres keeps times.
func sameTime(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Round(time.Microsecond).Equal(b.Round(time.Microsecond))
}

func startWords(at *time.Time, now bool) string {
	switch {
	case now:
		return "now"
	case at == nil:
		return "beginning"
	}
	return human.Exact(*at)
}

// checkStarted refuses a start that was stored and that no row has reached, as older versions stored it.
func checkStarted(export *source.Source, state ledger.State) error {
	clock, _ := export.Clock()
	return state.CheckStart(clock)
}

// noteChanges warns of what changed, and refuses what no run can work with.
func (s *session) noteChanges(reads bool) error {
	if reads {
		if err := checkStarted(s.export, s.run.State); err != nil {
			return err
		}
	}
	if others := s.loader.config.SharesKey(s.src); len(others) > 0 {
		s.log.Warn("another source has the same write key: Segment takes the events of both for one source's", "other", strings.Join(others, ", "))
	}
	for _, change := range changes(s.src, s.run.State) {
		s.log.Warn("the configuration was changed: "+change.Text, "remedy", change.Hint)
	}
	return nil
}

// startOf fills in what migrate --start-at stores.
func (l *Loader) startOf(ctx context.Context, src *config.Source, opts *ledger.MigrateOptions) error {
	if src.StartAt.Now {
		return fault.New(fault.Config, "setting the start of source %q: start_at is now, which is when the first run begins", src.Nickname).
			WithHint("Write beginning or a date.")
	}
	export, err := l.source(ctx, src)
	if err != nil {
		return err
	}
	defer export.Close()
	clock, _ := export.Clock()
	opts.StartAt = startAt(src)
	return src.StartAt.Check(clock)
}

// mapping is how rows are read.
type mapping struct {
	// Columns maps canonical names to the table's, where these differ.
	Columns map[string]string `json:"columns"`
	// Kinds maps spellings of the column kind; empty if there is none, or if it is left aside.
	Kinds map[string]string `json:"kinds"`
}

func mappingOf(src *config.Source) mapping {
	m := mapping{Columns: map[string]string{}, Kinds: map[string]string{}}
	for canonical, name := range src.Interactions.Columns {
		if name != canonical {
			m.Columns[canonical] = name
		}
	}
	for _, spelling := range src.Interactions.Kinds.View {
		m.Kinds[spelling] = "view"
	}
	for _, spelling := range src.Interactions.Kinds.Interaction {
		m.Kinds[spelling] = "interaction"
	}
	return m
}

// String is how it is stored.
func (m mapping) String() string {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err) // Texts can be written.
	}
	return string(text)
}

// mappingChange says how rows are read otherwise than by the last run, "" if they are not, or if nobody knows.
func mappingChange(src *config.Source, state ledger.State) string {
	var before mapping
	if state.Configs.Mapping == "" || json.Unmarshal([]byte(state.Configs.Mapping), &before) != nil {
		return ""
	}
	now := mappingOf(src)
	var parts []string
	for _, name := range keysOf(before.Columns, now.Columns) {
		if was, is := cmp.Or(before.Columns[name], name), cmp.Or(now.Columns[name], name); was != is {
			parts = append(parts, fmt.Sprintf("%s is read from column %q, until now from %q", name, is, was))
		}
	}
	switch was, is := len(before.Kinds), len(now.Kinds); {
	case was > 0 && is == 0:
		parts = append(parts, "kinds is by_event_name, until now there were spellings")
	case was == 0 && is > 0:
		parts = append(parts, "kinds has spellings, until now it was by_event_name")
	default:
		for _, spelling := range keysOf(before.Kinds, now.Kinds) {
			if before.Kinds[spelling] != now.Kinds[spelling] {
				parts = append(parts, fmt.Sprintf("kind %q means %s, until now %s", spelling, cmp.Or(now.Kinds[spelling], "nothing"), cmp.Or(before.Kinds[spelling], "nothing")))
			}
		}
	}
	return strings.Join(parts, "; ")
}

func keysOf(a, b map[string]string) []string {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return slices.Sorted(maps.Keys(both))
}

// warnURLs tells of parameters of URLs that have no effect, once a URL.
func warnURLs(cfg *config.Config, log *slog.Logger) {
	told := map[string]bool{}
	for _, src := range cfg.Sources {
		for _, url := range []secret.URL{cfg.Warehouse.URL, cfg.Warehouse.MigrateURL, src.Interactions.URL} {
			without, _ := postgres.CheckURL(url, false) // What is wrong is said where it is opened.
			if len(without) > 0 && !told[url.Reveal()] {
				told[url.Reveal()] = true
				log.Warn("parameters of a URL have no effect: the driver lacks them", "parameters", strings.Join(without, ", "), "url", postgres.Place(url))
			}
		}
	}
}
