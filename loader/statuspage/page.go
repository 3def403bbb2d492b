package statuspage

import (
	"bytes"
	"fmt"
	"html/template"
	"io"

	"github.com/candu-loader/candu-loader/loader/human"
)

// The templates read Views as they are. What they can't say is a function here, or, where it
// takes the time of the view or the source's zone, a method of section.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"asset": link, "number": human.Number, "words": human.Words, "duration": human.Duration, "quote": human.Quote, "took": took, "rate": rate, "day": dayText,
	"icon": icon, "hint": hintParts,
	"legend": legend, "slotsLabel": slotsLabel,
	"sum": func(a, b int64) int64 { return a + b },
	"cut": func(text any, n int) string { return human.Cut(fmt.Sprint(text), n) },
}).ParseFS(files, "templates/*.html"))

// Render writes the whole page. It writes nothing if it fails.
func Render(w io.Writer, v View) error {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page.html", newDocument(v)); err != nil {
		return fmt.Errorf("rendering the status page: %w", err)
	}
	_, err := b.WriteTo(w)
	return err
}
