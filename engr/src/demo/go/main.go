package main

import (
	"fmt"
	"log"
	"net/http"

	"github.com/pushbullet/engineer"
)

const greeting = "hello from version 1"

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s, release %d on %s\n", greeting, engineer.Version(), engineer.Instance())
	})
	log.Print("serving")
	if err := engineer.ListenAndServe(":8080", nil); err != nil {
		log.Fatal(err)
	}
	log.Print("done")
}
