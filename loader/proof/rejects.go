package proof

import (
	"context"
	"crypto/md5" //nolint:gosec // A fingerprint, as Postgres computes it; nobody attacks it.
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/ledger"
)

// addRejects adds the rejects to their days, as they were when they were rejected.
func (v *verifier) addRejects(ctx context.Context) error {
	return v.eachReject(ctx, func(page []rejectOfDay) error {
		for _, reject := range page {
			hash := md5.Sum([]byte(reject.id + "@" + reject.micros)) //nolint:gosec // As above.
			v.at(reject.day, reject.kind).rejected.add(1, strconv.FormatInt(int64(binary.BigEndian.Uint64(hash[:8])), 10))
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
	for page, err := range v.Ledger.AllRejects(ctx, "") {
		if err != nil {
			return err
		}
		var in []rejectOfDay
		for _, reject := range page {
			if r, ok := v.ofDay(reject); ok {
				in = append(in, r)
			}
		}
		if err := do(in); err != nil {
			return err
		}
	}
	return nil
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
	case !v.hasKind:
		key.kind = "view"
		if event.Present(row.EventName) != "" {
			key.kind = "interaction"
		}
	case slices.Contains(v.Kinds.View, row.Kind):
		key.kind = "view"
	case slices.Contains(v.Kinds.Interaction, row.Kind):
		key.kind = "interaction"
	}
	var at time.Time
	if row.OccurredAt != nil {
		at, _ = time.Parse(time.RFC3339Nano, *row.OccurredAt)
	}
	if at.Year() < 1970 || at.Year() >= 10_000 {
		return key, v.inRange(time.Time{})
	}
	key.day, key.micros = at.UTC().Format(time.DateOnly), strconv.FormatInt(at.UnixMicro(), 10)
	return key, v.inRange(at)
}

// goneRejects names the rejects of days that are gone from the export, and returns
// their days.
func (v *verifier) goneRejects(ctx context.Context, days map[string]bool) (map[string]bool, error) {
	gone := map[string]bool{}
	if len(days) == 0 {
		return gone, nil
	}
	err := v.eachReject(ctx, func(page []rejectOfDay) error {
		day := map[string]string{}
		for _, reject := range page {
			if days[reject.day] {
				day[reject.id] = reject.day
			}
		}
		if len(day) == 0 {
			return nil
		}
		there, err := v.Export.ByID(ctx, slices.Collect(maps.Keys(day)))
		if err != nil {
			return err
		}
		for i := range there.Rows {
			delete(day, there.Rows[i].ID)
		}
		for _, id := range slices.Sorted(maps.Keys(day)) {
			v.report.Unexpected.add(id)
			gone[day[id]] = true
		}
		return nil
	})
	return gone, err
}
