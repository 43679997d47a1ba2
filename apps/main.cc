#include "apps/cli.h"

int main(int argc, char** argv) { return runnel::apps::run(argc, argv); }
