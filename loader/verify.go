package loader

import (
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // A fingerprint, as Postgres computes it; nobody attacks it.
	"encoding/binary"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

const (
	// verifyTimeout is how long a server may compute fingerprints.
	verifyTimeout = 30 * time.Minute
	// verifyPage is how many rows of a day that differs are read at once. Each page
	// reads the day again, so it is large.
	verifyPage = 100_000
	// listed bounds the ids that a report lists; its numbers count them all.
	listed = 1000
)

// VerifyOptions bound what is verified, by occurred_at; nil = open.
type VerifyOptions struct{ From, To *time.Time }

// VerifyReport is the proof that export = mirror + rejects, or the difference.
type VerifyReport struct {
	Source string `json:"source"`
	Schema string `json:"schema"`
	// Proved is true only if every row of the range up to the watermark is in the
	// mirror, with its kind and time, or in loader_rejects.
	Proved bool `json:"proved"`
	// UpTo is the watermark: what lies beyond it is pending.
	UpTo *time.Time `json:"up_to"`
	// Rows of the export, Mirrored of the mirror, Rejected of loader_rejects.
	Rows     int64 `json:"rows"`
	Mirrored int64 `json:"mirrored"`
	Rejected int64 `json:"rejected"`
	// Pending rows lie behind the watermark. Unreadable ones have no exported_at.
	Pending    int64 `json:"pending"`
	Unreadable int64 `json:"unreadable"`
	// Missing are in neither place. Different are mirrored with another kind or
	// time, or in tracks and not in tutorial_interaction. Doubled are in the mirror
	// twice, or rejected too. Unexpected are in the mirror or in loader_rejects and gone
	// from the export, which is allowed.
	Missing    Difference `json:"missing"`
	Different  Difference `json:"different"`
	Doubled    Difference `json:"doubled"`
	Unexpected Difference `json:"unexpected"`
	// Beyond counts rows of the mirror that belong to rows of the export beyond the
	// watermark or before start_at, which are not among Rows.
	Beyond int64 `json:"beyond"`
	// Days are those with rows that are missing, different, doubled or unexpected.
	Days []VerifyDay `json:"days"`
	// Seconds it took.
	Seconds float64 `json:"seconds"`
}

func (r *VerifyReport) found() int64 {
	return r.Missing.Rows + r.Different.Rows + r.Doubled.Rows + r.Unexpected.Rows
}

// Difference counts rows and lists the first of them.
type Difference struct {
	Rows int64    `json:"rows"`
	IDs  []string `json:"ids"`
}

func (d *Difference) add(id string) {
	d.Rows++
	if len(d.IDs) < listed {
		d.IDs = append(d.IDs, id)
	}
}

// VerifyDay is a day (UTC) and kind of which the export's ids are not those of
// mirror and rejects.
type VerifyDay struct {
	Day      string `json:"day"`
	Kind     string `json:"kind"`
	Rows     int64  `json:"rows"`
	Mirrored int64  `json:"mirrored"`
	Rejected int64  `json:"rejected"`
}

// print is the fingerprint of a day and kind on one side.
type dayKind struct{ day, kind string }

type fingerprint struct {
	rows int64
	sum  big.Int
}

// verifier is one verification.
type verifier struct {
	book   *ledger.Ledger
	export *source.Source
	kinds  source.Kinds
	rng    source.Range
	report *VerifyReport
	// The sides: what the export has, what the mirror has, what was rejected.
	rows, mirrored, rejected map[dayKind]*fingerprint
	// details are those of tutorial_interaction, which must be those of tracks.
	details map[string]*fingerprint
}

// Verify compares export and mirror day by day, in both databases at once, and
// names the rows by which they differ.
func (l *Loader) Verify(ctx context.Context, src *config.Source, opts VerifyOptions) (VerifyReport, error) {
	started := time.Now()
	report := VerifyReport{Source: src.Nickname, Schema: src.Schema, Days: []VerifyDay{},
		Missing: Difference{IDs: []string{}}, Different: Difference{IDs: []string{}},
		Doubled: Difference{IDs: []string{}}, Unexpected: Difference{IDs: []string{}}}
	book, err := l.Ledger(ctx, src)
	if err != nil {
		return report, err
	}
	// The watermark first: whatever moves afterwards lies beyond it.
	state, err := book.State(ctx)
	if err != nil {
		return report, err
	}
	export, err := l.sourceFor(ctx, src, verifyTimeout)
	if err != nil {
		return report, err
	}
	defer export.Close()
	job := &backfillJob{src: src, opts: BackfillOptions{From: opts.From, To: opts.To}}
	v := &verifier{
		book: book, export: export, report: &report, rng: job.rangeUpTo(state),
		kinds: source.Kinds{View: src.Interactions.Kinds.View, Interaction: src.Interactions.Kinds.Interaction},
		rows:  map[dayKind]*fingerprint{}, mirrored: map[dayKind]*fingerprint{}, rejected: map[dayKind]*fingerprint{},
		details: map[string]*fingerprint{},
	}
	report.UpTo = state.WatermarkAt
	v.rng.ExportedFrom = state.StartAt
	if report.Pending, err = export.Beyond(ctx, v.rng); err != nil {
		return report, err
	}
	if report.Unreadable, err = export.Unreadable(ctx); err != nil {
		return report, err
	}
	if !v.rng.UpTo.IsZero() {
		if err := v.compare(ctx); err != nil {
			return report, err
		}
	}
	report.Proved = report.Missing.Rows == 0 && report.Different.Rows == 0 && report.Doubled.Rows == 0 && report.Unreadable == 0
	report.Seconds = time.Since(started).Seconds()
	return report, nil
}

func (v *verifier) compare(ctx context.Context) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.Go(func() error {
		prints, err := v.export.Fingerprints(inGroup, v.rng, v.kinds)
		for _, p := range prints {
			add(v.rows, dayKind{p.Day, p.Kind}, p.Rows, p.Sum)
			v.report.Rows += p.Rows
		}
		return err
	})
	var mirror []ledger.Fingerprint
	group.Go(func() (err error) {
		mirror, err = v.book.Fingerprints(inGroup, v.rng.From, v.rng.To)
		return err
	})
	group.Go(func() error { return v.addRejects(inGroup) })
	if err := group.Wait(); err != nil {
		return err
	}
	for _, p := range mirror {
		if p.Kind == "tutorial_interaction" {
			add(v.details, p.Day, p.Rows, p.Fingerprint)
			continue
		}
		add(v.mirrored, dayKind{p.Day, p.Kind}, p.Rows, p.Fingerprint)
		v.report.Mirrored += p.Rows
	}
	days := map[string]bool{}
	for key := range v.keys() {
		rows, mirrored, rejected := v.rows[key], v.mirrored[key], v.rejected[key]
		whole := key.kind != "interaction" || matches(mirrored, v.details[key.day], nil)
		if whole && matches(rows, mirrored, rejected) {
			continue
		}
		v.report.Days = append(v.report.Days, VerifyDay{key.day, key.kind, count(rows), count(mirrored), count(rejected)})
		days[key.day] = true
	}
	slices.SortFunc(v.report.Days, func(a, b VerifyDay) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Kind, b.Kind)) })
	gone, err := v.goneRejects(ctx, days)
	if err != nil {
		return err
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		before := v.report.found()
		if err := v.day(ctx, day); err != nil {
			return err
		}
		if v.report.found() == before && !gone[day] {
			// Every row of it is accounted for, if not where the fingerprints look.
			v.report.Days = slices.DeleteFunc(v.report.Days, func(d VerifyDay) bool { return d.Day == day })
		}
	}
	return nil
}

func (v *verifier) keys() map[dayKind]bool {
	keys := map[dayKind]bool{}
	for _, side := range []map[dayKind]*fingerprint{v.rows, v.mirrored, v.rejected} {
		for key := range side {
			keys[key] = true
		}
	}
	return keys
}

// addRejects adds the rejects to their days, as they were when they were rejected.
func (v *verifier) addRejects(ctx context.Context) error {
	return v.eachReject(ctx, func(page []rejectOfDay) error {
		for _, reject := range page {
			hash := md5.Sum([]byte(reject.id + "@" + reject.micros)) //nolint:gosec // As above.
			part := new(big.Int).SetInt64(int64(binary.BigEndian.Uint64(hash[:8])))
			add(v.rejected, reject.dayKind, 1, part.String())
			v.report.Rejected++
		}
		return nil
	})
}

// rejectOfDay is a reject of the range as the fingerprints see it. micros is its
// occurred_at in microseconds since 1970, "" if that is no day that Segment takes.
type rejectOfDay struct {
	dayKind

	id, micros string
}

// eachReject passes the rejects of the range, some at a time: their rows may be wide.
func (v *verifier) eachReject(ctx context.Context, do func([]rejectOfDay) error) error {
	for after := ""; ; {
		page, err := v.book.Rejects(ctx, after, "", rejectsPage)
		if err != nil {
			return err
		}
		in := make([]rejectOfDay, 0, len(page))
		for _, reject := range page {
			after = reject.InteractionID
			if r, ok := v.ofDay(reject); ok {
				in = append(in, r)
			}
		}
		if err := do(in); err != nil {
			return err
		}
		if len(page) < rejectsPage {
			return nil
		}
	}
}

// ofDay returns the day and kind of a reject, and whether it lies in the range.
func (v *verifier) ofDay(reject ledger.Reject) (rejectOfDay, bool) {
	var row struct {
		Kind       string  `json:"kind"`
		EventName  string  `json:"event_name"`
		OccurredAt *string `json:"occurred_at"`
	}
	// What can't be read matches no day, and is looked at row by row.
	_ = json.Unmarshal(reject.Interaction, &row)
	key := rejectOfDay{id: reject.InteractionID}
	switch {
	case !v.export.Table().HasKind:
		key.kind = "view"
		if row.EventName != "" {
			key.kind = "interaction"
		}
	case slices.Contains(v.kinds.View, row.Kind):
		key.kind = "view"
	case slices.Contains(v.kinds.Interaction, row.Kind):
		key.kind = "interaction"
	}
	var at time.Time
	if row.OccurredAt != nil {
		at, _ = time.Parse(time.RFC3339Nano, *row.OccurredAt)
	}
	if at.Year() >= 1970 && at.Year() < 10_000 {
		key.day, key.micros = at.UTC().Format(time.DateOnly), strconv.FormatInt(at.UnixMicro(), 10)
		return key, (v.rng.From == nil || !at.Before(*v.rng.From)) && (v.rng.To == nil || at.Before(*v.rng.To))
	}
	return key, v.rng.From == nil && v.rng.To == nil
}

func add[K comparable](side map[K]*fingerprint, key K, rows int64, sum string) {
	if side[key] == nil {
		side[key] = &fingerprint{}
	}
	part, _ := new(big.Int).SetString(sum, 10) // Postgres prints whole numbers.
	side[key].rows += rows
	side[key].sum.Add(&side[key].sum, part)
}

func count(f *fingerprint) int64 {
	if f == nil {
		return 0
	}
	return f.rows
}

// matches reports whether the rows of one side are those of two others together.
func matches(rows, mirrored, rejected *fingerprint) bool {
	var sum big.Int
	for _, f := range []*fingerprint{mirrored, rejected} {
		if f != nil {
			sum.Add(&sum, &f.sum)
		}
	}
	if count(rows) != count(mirrored)+count(rejected) {
		return false
	}
	return rows == nil || rows.sum.Cmp(&sum) == 0
}
