package metadatatest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Status is what Control tells about a Server.
type Status struct {
	Endpoint string `json:"endpoint"`
	Fault    Fault  `json:"fault,omitempty"`
	// Effect is what a careful client can know under Fault.
	Effect Effect `json:"effect,omitempty"`
	// NoticeReadableAt and NoticeReadAt are as the methods of that name say.
	NoticeReadableAt time.Time      `json:"noticeReadableAt,omitzero"`
	NoticeReadAt     time.Time      `json:"noticeReadAt,omitzero"`
	Requests         map[string]int `json:"requests"`
	// PeakPer10s is the largest number of requests within any ten seconds.
	PeakPer10s int `json:"peakPer10s"`
}

// Status is the present state in one value.
func (s *Server) Status() Status {
	fault := s.Fault()
	row, _ := s.faults.Find(fault)
	return Status{
		Endpoint:         s.URL(),
		Fault:            fault,
		Effect:           row.Effect,
		NoticeReadableAt: s.NoticeReadableAt(),
		NoticeReadAt:     s.NoticeReadAt(),
		Requests:         s.Requests(),
		PeakPer10s:       s.Peak(10 * time.Second),
	}
}

// Route is something that a fake of one cloud can be told over HTTP.
type Route struct {
	// Pattern is that of a http.ServeMux: "POST /take-back".
	Pattern string
	// Usage is how the request is written; empty means as the Pattern says.
	Usage string
	// Doc says in a few words what it does.
	Doc string
	// Do carries it out; its error goes to the client.
	Do func(r *http.Request) error
}

// TreeRoutes are the two by which a fake's tree is changed: set gets the body of a PUT
// of /noun/PATH, which doc describes, and remove what a DELETE of it names.
func TreeRoutes(noun, doc string, set func(path, content string), remove func(path string)) []Route {
	return []Route{
		{
			Pattern: "PUT /" + noun + "/{path...}", Usage: "PUT    /" + noun + "/PATH", Doc: doc,
			Do: func(r *http.Request) error {
				body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
				if err == nil {
					set(r.PathValue("path"), string(body))
				}
				return err
			},
		},
		{
			Pattern: "DELETE /" + noun + "/{path...}", Usage: "DELETE /" + noun + "/PATH", Doc: "remove it",
			Do: func(r *http.Request) error { remove(r.PathValue("path")); return nil },
		},
	}
}

// routes are what every fake can be told.
func (s *Server) routes() []Route {
	return []Route{
		{Pattern: "PUT /fault/{name}", Usage: "PUT    /fault/NAME", Doc: "a fault, in place of the one before", Do: func(r *http.Request) error {
			fault, err := s.faults.Parse(r.PathValue("name"))
			if err != nil {
				return err
			}
			return s.SetFault(fault)
		}},
		{Pattern: "DELETE /fault", Doc: "no fault", Do: func(*http.Request) error { return s.ClearFault() }},
		{Pattern: "POST /clock", Usage: "POST   /clock?offset=-90s", Doc: "the cloud's clock runs ahead or behind", Do: func(r *http.Request) error {
			offset, err := Duration(r, "offset", 0)
			if err == nil {
				s.SetClockOffset(offset)
			}
			return err
		}},
		{Pattern: "POST /reset", Doc: "forget the requests so far", Do: func(*http.Request) error { s.ResetRequests(); return nil }},
	}
}

// reports are what Control answers besides routes.
var reports = []Route{
	{Pattern: "GET /status", Doc: "state and requests, as JSON"},
	{Pattern: "GET /log", Doc: "the latest requests, as JSON"},
	{Pattern: "GET /faults", Doc: "the faults there are"},
}

// ControlHelp lists what Control answers, with routes of the fake's own.
func ControlHelp(routes ...Route) string {
	var b strings.Builder
	var none *Server // its routes are not called
	for _, route := range slices.Concat(reports, routes, none.routes()) {
		usage := route.Usage
		if usage == "" {
			method, path, _ := strings.Cut(route.Pattern, " ")
			usage = fmt.Sprintf("%-6s %s", method, path)
		}
		_, _ = fmt.Fprintf(&b, "%-54s %s\n", usage, route.Doc)
	}
	return b.String()
}

// Control is a handler that does over HTTP what the methods do, and what routes
// of the fake's own do, for a Server that runs in another process. Each answers
// with the Status. Serve it on an address of its own: under ConnectionRefused the
// Server's own address is closed.
func (s *Server) Control(routes ...Route) http.Handler {
	mux := http.NewServeMux()
	help := ControlHelp(routes...)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, help) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Status()) })
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Log()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s.faults.String()) })
	for _, route := range append(s.routes(), routes...) {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Do(r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			writeJSON(w, s.Status())
		})
	}
	return mux
}

// String is a line for each fault: name, effect and what it does.
func (d Definitions) String() string {
	var b strings.Builder
	for _, row := range d {
		_, _ = fmt.Fprintf(&b, "%-19s %-18s %s\n", row.Fault, row.Effect, row.Doc)
	}
	return b.String()
}

// Duration reads a query parameter such as 90s.
func Duration(r *http.Request, name string, otherwise time.Duration) (time.Duration, error) {
	value := r.URL.Query().Get(name)
	if value == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return 0, fmt.Errorf("reading %q: %q is not a duration such as 90s", name, value)
	}
	return d, nil
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(value) // a client that went away
}
