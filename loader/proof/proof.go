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

// sides are what the export has of a day and kind, what the mirror has, what was rejected, and
// what tutorial_interaction has, which must be what tracks has.
type sides struct{ rows, mirrored, rejected, details fingerprint }

// verifier is one verification.
type verifier struct {
	Config

	report *Report
	days   map[dayKind]*sides
	// hasKind is the export's. It is asked for beside its reading.
	hasKind bool
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
	v := &verifier{Config: c, report: newReport(c.Source, c.Schema), days: map[dayKind]*sides{}, hasKind: c.Export.Table().HasKind}
	report := v.report
	report.UpTo = c.State.WatermarkAt
	if !c.Export.Table().Prints() {
		report.ReadAs = c.Export.Table().Encoding()
	}
	v.Range.ExportedFrom = c.State.StartAt
	var err error
	if report.Pending, err = c.Export.Beyond(ctx, v.Range); err != nil {
		return *report, err
	}
	if report.InheritedUpTo = c.State.NamespaceSince; report.InheritedUpTo != nil {
		inherited := v.Range
		inherited.UpTo, inherited.After = inherited.After, source.Cursor{}
		if report.Inherited, err = c.Export.Within(ctx, inherited); err != nil {
			return *report, err
		}
	}
	if err := v.unreadable(ctx); err != nil {
		return *report, err
	}
	if !v.Range.UpTo.IsZero() {
		if err := v.compare(ctx); err != nil {
			return *report, err
		}
	}
	report.Proved = report.Missing.Rows == 0 && report.Different.Rows == 0 && report.Doubled.Rows == 0 && report.Unreadable == 0 && len(report.Twice) == 0
	report.Seconds = time.Since(started).Seconds()
	return *report, nil
}

// unreadable finds the rows of the export that can't be in one place: those that no page holds, and those
// that share an id.
func (v *verifier) unreadable(ctx context.Context) error {
	withoutTime, err1 := v.Export.Unreadable(ctx)
	withoutID, err2 := v.Export.WithoutID(ctx, source.Cursor{})
	twice, err3 := v.Export.Twice(ctx, source.Cursor{})
	v.report.Unreadable, v.report.Twice = withoutTime+withoutID, append(v.report.Twice, twice...)
	return cmp.Or(err1, err2, err3)
}

func (v *verifier) compare(ctx context.Context) error {
	group, inGroup := errgroup.WithContext(ctx)
	var export []source.Fingerprint
	var mirror []ledger.Fingerprint
	group.Go(func() (err error) {
		export, err = v.Export.Fingerprints(inGroup, v.Range, v.Kinds)
		return err
	})
	group.Go(func() (err error) {
		mirror, err = v.Ledger.Fingerprints(inGroup, v.Range.From, v.Range.To)
		return err
	})
	group.Go(func() error { return v.addRejects(inGroup) })
	if err := group.Wait(); err != nil {
		return err
	}
	for _, p := range export {
		v.at(p.Day, p.Kind).rows.add(p.Rows, p.Sum)
		v.report.Rows += p.Rows
	}
	for _, p := range mirror {
		if p.Kind == "tutorial_interaction" {
			v.at(p.Day, "interaction").details.add(p.Rows, p.Fingerprint)
			continue
		}
		v.at(p.Day, p.Kind).mirrored.add(p.Rows, p.Fingerprint)
		v.report.Mirrored += p.Rows
	}
	days := map[string]bool{}
	for key, s := range v.days {
		if s.match(key.kind) {
			continue
		}
		v.report.Days = append(v.report.Days, Day{key.day, key.kind, s.rows.rows, s.mirrored.rows, s.rejected.rows})
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

// at returns the sides of a day and kind, empty ones at first.
func (v *verifier) at(day, kind string) *sides {
	key := dayKind{day, kind}
	if v.days[key] == nil {
		v.days[key] = &sides{}
	}
	return v.days[key]
}

func (f *fingerprint) add(rows int64, sum string) {
	part, _ := new(big.Int).SetString(sum, 10) // Postgres prints whole numbers.
	f.rows += rows
	f.sum.Add(&f.sum, part)
}

// match reports whether the export's rows are those of mirror and rejects together, and the
// interactions stand in both tables.
func (s *sides) match(kind string) bool {
	if kind == "interaction" && (s.mirrored.rows != s.details.rows || s.mirrored.sum.Cmp(&s.details.sum) != 0) {
		return false
	}
	sum := new(big.Int).Add(&s.mirrored.sum, &s.rejected.sum)
	return s.rows.rows == s.mirrored.rows+s.rejected.rows && s.rows.sum.Cmp(sum) == 0
}
