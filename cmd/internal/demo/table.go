//go:build unix

package main

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// printed is a table as psql prints it.
type printed struct{ writer table.Writer }

func newTable() printed {
	writer := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.Options{SeparateColumns: true, SeparateHeader: true}
	style.Format = table.FormatOptions{}
	writer.SetStyle(style)
	return printed{writer}
}

func (p printed) header(names []any) { p.writer.AppendHeader(names) }
func (p printed) row(values []any)   { p.writer.AppendRow(values) }

func (p printed) print(out io.Writer) {
	p.writer.SetOutputMirror(out)
	p.writer.Render()
}
