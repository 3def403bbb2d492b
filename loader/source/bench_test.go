package source

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

// BenchmarkPage reads the pages of an export, over and over.
func BenchmarkPage(b *testing.B) {
	url := loadertest.Database(b)
	db := loadertest.Pool(b, url)
	export := loadertest.Export{Rows: 20_000}
	require.NoError(b, export.Create(b.Context(), db))
	require.NoError(b, export.Fill(b.Context(), db))
	s := open(b, url, "candu_interactions", 5_000)
	defer s.Close()
	var cursor Cursor
	rows := 0
	b.ReportAllocs()
	for b.Loop() {
		page, err := s.Page(context.Background(), cursor)
		if err != nil {
			b.Fatal(err)
		}
		rows += len(page.Rows)
		if cursor = page.Next; page.Last {
			cursor = Cursor{}
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}
