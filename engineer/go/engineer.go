// Package engineer is the library that an app links to be switched by Engineer without a failed
// request. A web service needs one call:
//
//	func main() {
//		http.HandleFunc("/", hello)
//		if err := engineer.ListenAndServe(":8080", nil); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// It takes the socket that the agent hands over, or else binds one with SO_REUSEPORT, so that the
// same binary runs by itself too; it says that the app is ready; and on SIGTERM it ends without
// cutting anybody off (see [ServeUntilTerminate]). A worker does the same by [Ready] and [Context]:
//
//	ctx := engineer.Context()
//	if err := engineer.Ready(); err != nil {
//		log.Print(err)
//	}
//	work(ctx)
//
// What passes between the agent and the app is what systemd and its services say to each other
// (LISTEN_FDS, NOTIFY_SOCKET, SIGTERM) and the variables ENGR_*: there is nothing of it that an app
// could not do by itself.
package engineer

import (
	"os"
	"strconv"
)

// AppName is the app's name, or empty where the app runs by itself.
func AppName() string { return os.Getenv("ENGR_APP") }

// Project is the project that the app belongs to: "local" on a local fleet, and empty where the app
// runs by itself.
func Project() string { return os.Getenv("ENGR_PROJECT") }

// Instance is the instance that the app runs on, or empty where it runs by itself.
func Instance() string { return os.Getenv("ENGR_INSTANCE") }

// Version is the number of the release that runs, or 0 where the app runs by itself.
func Version() int {
	version, err := strconv.Atoi(os.Getenv("ENGR_VERSION"))
	if err != nil {
		return 0
	}
	return version
}

// Development says whether the app runs under `engr serve`, on a developer's machine.
func Development() bool { return os.Getenv("ENGR_DEVELOPMENT") == "1" }
