package loader

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// Readiness says whether a database answers.
type Readiness struct {
	// Database is "warehouse", or "export of" its sources.
	Database string
	Err      error
}

// Ready asks the warehouse and each export whether it answers.
func (l *Loader) Ready(ctx context.Context) []Readiness {
	exports := map[secret.URL][]string{}
	var order []secret.URL
	for _, src := range l.config.Sources {
		url := src.Interactions.URL
		if exports[url] == nil {
			order = append(order, url)
		}
		exports[url] = append(exports[url], src.Nickname)
	}
	readiness := make([]Readiness, 1+len(order))
	var group errgroup.Group
	group.Go(func() error {
		book, err := l.ledger(ctx, l.config.Sources[0])
		if err == nil {
			err = book.Ping(ctx)
		}
		readiness[0] = Readiness{Database: "warehouse", Err: err}
		return nil
	})
	for i, url := range order {
		group.Go(func() error {
			reader, err := postgres.OpenReader(ctx, url, postgres.Options{Name: "export"}, postgres.ConnectTimeout)
			if err == nil {
				reader.Close()
			}
			readiness[1+i] = Readiness{Database: "export of " + strings.Join(exports[url], ", "), Err: err}
			return nil
		})
	}
	_ = group.Wait() // The errors are the answers.
	return readiness
}
