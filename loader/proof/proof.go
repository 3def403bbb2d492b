// Package proof compares the export with mirror and rejects: every row of the export is in
// exactly one of the two places, or it is named.
package proof

import (
	"cmp"
	"context"
	"maps"
	"math/big"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/source"
)

// dayKind is a day and kind, of which each side has a fingerprint.
type dayKind struct{ day, kind string }

type fingerprint struct {
	rows int64
	sum  big.Int
}

// verifier is one verification.
type verifier struct {
	Config

	report *Report
	// The sides: what the export has, what the mirror has, what was rejected.
	rows, mirrored, rejected map[dayKind]*fingerprint
	// details are those of tutorial_interaction, which must be those of tracks.
	details map[string]*fingerprint
}

// Config says what is compared.
type Config struct {
	// Source and Schema name what is verified.
	Source, Schema string
	Ledger         *ledger.Ledger
	Export         *source.Source
	// Kinds are the spellings of the column kind.
	Kinds source.Kinds
	// State is where the source stands. It must have been read before Range was made.
	State ledger.State
	// Range is what is verified, up to the watermark.
	Range source.Range
}

// Verify compares export and mirror day by day, in both databases at once, and
// names the rows by which they differ. It writes nothing.
func Verify(ctx context.Context, c Config) (Report, error) {
	started := time.Now()
	v := &verifier{
		Config: c, report: newReport(c.Source, c.Schema),
		rows: map[dayKind]*fingerprint{}, mirrored: map[dayKind]*fingerprint{}, rejected: map[dayKind]*fingerprint{},
		details: map[string]*fingerprint{},
	}
	report := v.report
	report.UpTo = c.State.WatermarkAt
	v.Range.ExportedFrom = c.State.StartAt
	var err error
	if report.Pending, err = c.Export.Beyond(ctx, v.Range); err != nil {
		return *report, err
	}
	if report.Unreadable, err = c.Export.Unreadable(ctx); err != nil {
		return *report, err
	}
	if !v.Range.UpTo.IsZero() {
		if err := v.compare(ctx); err != nil {
			return *report, err
		}
	}
	report.Proved = report.Missing.Rows == 0 && report.Different.Rows == 0 && report.Doubled.Rows == 0 && report.Unreadable == 0
	report.Seconds = time.Since(started).Seconds()
	return *report, nil
}

func (v *verifier) compare(ctx context.Context) error {
	group, inGroup := errgroup.WithContext(ctx)
	group.Go(func() error {
		prints, err := v.Export.Fingerprints(inGroup, v.Range, v.Kinds)
		for _, p := range prints {
			add(v.rows, dayKind{p.Day, p.Kind}, p.Rows, p.Sum)
			v.report.Rows += p.Rows
		}
		return err
	})
	var mirror []ledger.Fingerprint
	group.Go(func() (err error) {
		mirror, err = v.Ledger.Fingerprints(inGroup, v.Range.From, v.Range.To)
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
		v.report.Days = append(v.report.Days, Day{key.day, key.kind, count(rows), count(mirrored), count(rejected)})
		days[key.day] = true
	}
	slices.SortFunc(v.report.Days, func(a, b Day) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Kind, b.Kind)) })
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
			v.report.Days = slices.DeleteFunc(v.report.Days, func(d Day) bool { return d.Day == day })
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
