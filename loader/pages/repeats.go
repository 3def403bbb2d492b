package pages

import (
	"hash/maphash"

	"github.com/candu-loader/candu-loader/loader/event"
	"github.com/candu-loader/candu-loader/loader/source"
)

// repeats notices that pages bring again what was read before, by the ids of one page. It holds those of
// page 1, then 2, 4, 8 and so on: so whatever the length of the circle in which pages go, in time a page of it
// is held for longer than the circle takes.
type repeats struct {
	seed maphash.Seed
	// held counts how often each id of the page came again.
	held     map[uint64]int
	pages    int
	exchange int
}

// see takes a page, and returns a row of it that the page held had too, nil if there is none. thrice is true
// if half of that page came for the third time.
func (r *repeats) see(page *source.Page) (row *event.Interaction, thrice bool) {
	if len(page.Rows) == 0 {
		return nil, false
	}
	if r.held == nil {
		r.seed, r.exchange = maphash.MakeSeed(), 1
	}
	often := 0
	for i := range page.Rows {
		hash := maphash.String(r.seed, page.Rows[i].ID)
		n, held := r.held[hash]
		if !held {
			continue
		}
		row, r.held[hash] = &page.Rows[i], n+1
		if n >= 1 {
			often++
		}
	}
	thrice = often > 0 && 2*often >= len(r.held)
	if r.pages++; r.pages == r.exchange {
		r.held, r.exchange = make(map[uint64]int, len(page.Rows)), 2*r.exchange
		for i := range page.Rows {
			r.held[maphash.String(r.seed, page.Rows[i].ID)] = 0
		}
	}
	return row, thrice
}
