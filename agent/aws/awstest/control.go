package awstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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
	return Status{
		Endpoint:         s.URL(),
		Fault:            fault,
		Effect:           fault.Effect(),
		NoticeReadableAt: s.NoticeReadableAt(),
		NoticeReadAt:     s.NoticeReadAt(),
		Requests:         s.Requests(),
		PeakPer10s:       s.Peak(10 * time.Second),
	}
}

// ControlHelp lists what Control answers.
const ControlHelp = `GET    /status                                         state and requests, as JSON
GET    /log                                            the latest requests, as JSON
GET    /faults                                         the faults there are
POST   /interrupt?action=terminate&notice=2m&after=0s  a notice
POST   /take-back                                      no notice
PUT    /fault/NAME                                     a fault, in place of the one before
DELETE /fault                                          no fault
POST   /clock?offset=-90s                              the cloud's clock runs ahead or behind
POST   /expire-tokens                                  void every token
POST   /reset                                          forget the requests so far
PUT    /item/PATH                                      set an item below meta-data/ to the body
DELETE /item/PATH                                      remove it
`

// Control is a handler that does over HTTP what the methods do, for a Server
// that runs in another process. Serve it on an address of its own: under
// ConnectionRefused the Server's own address is closed.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, ControlHelp)
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Status()) })
	mux.HandleFunc("GET /log", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Log()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		for _, f := range Faults() {
			_, _ = fmt.Fprintf(w, "%-19s %-18s %s\n", f, f.Effect(), f.Doc())
		}
	})
	act := func(pattern string, do func(r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			writeJSON(w, s.Status())
		})
	}
	act("POST /interrupt", s.controlInterrupt)
	act("POST /take-back", func(*http.Request) error { s.TakeBack(); return nil })
	act("PUT /fault/{name}", func(r *http.Request) error {
		fault, err := ParseFault(r.PathValue("name"))
		if err != nil {
			return err
		}
		return s.SetFault(fault)
	})
	act("DELETE /fault", func(*http.Request) error { return s.ClearFault() })
	act("POST /clock", func(r *http.Request) error {
		offset, err := duration(r, "offset", 0)
		if err == nil {
			s.SetClockOffset(offset)
		}
		return err
	})
	act("POST /expire-tokens", func(*http.Request) error { s.ExpireTokens(); return nil })
	act("POST /reset", func(*http.Request) error { s.ResetRequests(); return nil })
	act("PUT /item/{path...}", func(r *http.Request) error {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err == nil {
			s.SetItem(r.PathValue("path"), string(body))
		}
		return err
	})
	act("DELETE /item/{path...}", func(r *http.Request) error { s.RemoveItem(r.PathValue("path")); return nil })
	return mux
}

func (s *Server) controlInterrupt(r *http.Request) error {
	lead, err := duration(r, "notice", 2*time.Minute)
	if err != nil {
		return err
	}
	after, err := duration(r, "after", 0)
	if err != nil {
		return err
	}
	action := r.URL.Query().Get("action")
	if action == "" {
		action = "terminate"
	}
	s.InterruptAfter(after, action, lead)
	return nil
}

// duration reads a query parameter such as 90s.
func duration(r *http.Request, name string, otherwise time.Duration) (time.Duration, error) {
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
