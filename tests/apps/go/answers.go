package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pushbullet/engineer"
)

// answers is what the app answers in this mode.
func answers(mode string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.Error(w, "there is no "+r.URL.Path, http.StatusNotFound)
			return
		}
		answer, err := answerOf(mode, "")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Write(answer)
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "ok")
	})
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/env", variable)
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) { echo(mode, w, r) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("X-Request-Id"); id != "" {
			w.Header().Set("X-Request-Id", id)
		}
		mux.ServeHTTP(w, r)
	})
}

// An answer says who answers; one to a WebSocket's message has that too.
type answer struct {
	App     string `json:"app"`
	Version string `json:"version"`
	Release int    `json:"release"`
	Pid     int    `json:"pid"`
	Mode    string `json:"mode"`
	Echo    string `json:"echo,omitempty"`
}

func answerOf(mode, echo string) ([]byte, error) {
	return json.Marshal(answer{
		engineer.AppName(), tag, engineer.Version(), os.Getpid(), mode, echo,
	})
}

func slow(w http.ResponseWriter, r *http.Request) {
	ms, err := strconv.Atoi(r.URL.Query().Get("ms"))
	if err != nil {
		http.Error(w, "say /slow?ms=N", http.StatusBadRequest)
		return
	}
	time.Sleep(time.Duration(ms) * time.Millisecond)
	fmt.Fprintf(w, "after %d ms", ms)
}

func variable(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	if !strings.HasPrefix(name, "TEST_") {
		http.Error(w, "say /env?name=TEST_X", http.StatusForbidden)
		return
	}
	value, ok := os.LookupEnv(name)
	if !ok {
		http.Error(w, name+" is not set", http.StatusNotFound)
		return
	}
	fmt.Fprint(w, value)
}
