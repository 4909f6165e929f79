// Runs one situation (MODEL_CALL of MODEL_HEADER) over whatever headers it was compiled with; ends 0 if it
// is violated. For mutants.py.

#include MODEL_HEADER

int main() {
  using namespace tarn::model;
  Report report = MODEL_CALL;
  return report.violated ? 0 : report.complete ? 1 : 2;
}
