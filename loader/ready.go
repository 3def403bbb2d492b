package loader

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/candu-loader/candu-loader/loader/config"
	"github.com/candu-loader/candu-loader/loader/ledger"
	"github.com/candu-loader/candu-loader/loader/postgres"
	"github.com/candu-loader/candu-loader/loader/secret"
)

// Readiness says whether a database answers, or a schema can be worked with.
type Readiness struct {
	// Database is "warehouse", "export of" its sources, or "schema of" a source.
	Database string
	Err      error
}

// Ready asks the warehouse and each export whether it answers, and looks for the schemas of the
// sources that have a schedule. One of an older version is as good: a run upgrades it.
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
			reader, err := postgres.OpenReader(ctx, url, postgres.Options{Name: "export", StatementTimeout: postgres.ConnectTimeout})
			if err == nil {
				reader.Close()
			}
			readiness[1+i] = Readiness{Database: "export of " + strings.Join(exports[url], ", "), Err: err}
			return nil
		})
	}
	_ = group.Wait() // The errors are the answers.
	if readiness[0].Err != nil {
		return readiness // It would be said once more for each schema.
	}
	return slices.Concat(readiness, l.schemas(ctx))
}

// schemas looks for the schemas of the sources that have a schedule.
func (l *Loader) schemas(ctx context.Context) []Readiness {
	var scheduled []*config.Source
	for _, src := range l.config.Sources {
		if src.Schedule != nil {
			scheduled = append(scheduled, src)
		}
	}
	readiness := make([]Readiness, len(scheduled))
	var group errgroup.Group
	group.SetLimit(RunsAtOnce)
	for i, src := range scheduled {
		group.Go(func() error {
			_, _, err := l.migrated(ctx, src)
			if errors.Is(err, ledger.ErrNotMigrated) {
				err = nil
			}
			readiness[i] = Readiness{Database: "schema of " + src.Nickname, Err: err}
			return nil
		})
	}
	_ = group.Wait() // The errors are the answers.
	return readiness
}
