package loader

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/segment"
)

// question asks what must be known before a run's first event, while its first page is read: what
// time it is at Segment, and whether it knows the write key. answer waits for it, and says why no
// event may be sent; end gives up where nobody waits. Where the config has nobody to ask, the first
// answer to a batch tells the time.
func (s *session) question() (answer func() error, end func()) {
	ctx, cancel := context.WithCancel(s.hard)
	answer = sync.OnceValue(func() error {
		var asking errgroup.Group
		if s.loader.config.Segment.CDN != "" {
			asking.Go(func() error { return s.loader.gateway.CheckClock(ctx) })
		}
		asking.Go(func() error { return s.checkKey(ctx) })
		return asking.Wait()
	})
	go func() { _ = answer() }() // Who sends asks for it.
	return answer, func() {
		cancel()
		_ = answer() // It has ended then.
	}
}

// checkKey asks Segment whether it knows the write key, where that is not known already. Where
// nobody can tell, the run goes on.
func (s *session) checkKey(ctx context.Context) error {
	cdn := s.loader.config.Segment.CDN
	book, hash := s.run.Ledger(), ledger.KeyHash(s.run.State.MessageNamespace, s.src.WriteKey)
	switch {
	case cdn == "" && s.run.State.KeyStored:
		return nil
	case cdn == "":
		return postgres.Retry(ctx, openTimeout, s.again, func(ctx context.Context) error { return book.KeyFill(ctx, hash) })
	}
	var due bool
	err := postgres.Retry(ctx, openTimeout, s.again, func(ctx context.Context) (err error) {
		due, err = book.KeyDue(ctx, hash)
		return err
	})
	if err != nil || !due {
		return err
	}
	said := segment.CheckKey(ctx, cdn, s.src.WriteKey)
	unknown := errors.Is(said, segment.ErrUnknownKey)
	var known *bool
	if said == nil || unknown {
		known = new(!unknown)
	}
	if ctx.Err() != nil {
		return nil // Nobody waits any more.
	}
	err = postgres.Retry(ctx, openTimeout, s.again, func(ctx context.Context) error { return book.KeyAsked(ctx, hash, known) })
	if err != nil && !unknown {
		return err
	}
	if known == nil {
		s.log.Warn("nobody could tell whether Segment knows the write key; it is asked again in 24 h", "error", said)
		said = nil
	}
	return said
}
